// Public views of the documents: names instead of internal ids wherever a person reads them, and never a sealed value.

import type { z } from 'zod';
import type { Z } from './endpoint.ts';

/** A lower-case DNS label without `--`, at most 30 characters. */
export const nameShape = (z: Z): z.ZodString =>
  z
    .string()
    .min(1)
    .max(30)
    .regex(/^(?!.*--)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/u, 'must be a lower-case DNS label without --, at most 30 characters');

export const digestShape = (z: Z): z.ZodString => z.string().regex(/^sha256:[0-9a-f]{64}$/u, 'must be sha256: and 64 hex digits');

const reasonShape = (z: Z) =>
  z.object({
    code: z.string(),
    message: z.string(),
    hint: z.string().nullable(),
    lastLines: z.array(z.string()),
    instanceId: z.string().nullable(),
  });

export const appShape = (z: Z) =>
  z.object({
    id: z.string(),
    name: z.string(),
    team: z.string(),
    gitUrl: z.string().nullable(),
    state: z.enum(['active', 'deleting']),
    lastRelease: z.number(),
    environments: z.array(
      z.object({
        name: z.string(),
        /** new: never deployed. deploying, canary (two versions side by side), healthy, degraded (fewer healthy than wanted), down (none healthy), paused, stopped. */
        status: z.enum(['new', 'deploying', 'canary', 'healthy', 'degraded', 'down', 'paused', 'stopped']),
        release: z.number().nullable(),
        healthy: z.number(),
        wanted: z.number(),
        url: z.string().nullable(),
      }),
    ),
    createdAtMs: z.number(),
  });

export const releaseShape = (z: Z) =>
  z.object({
    id: z.string(),
    app: z.string(),
    number: z.number(),
    label: z.string().nullable(),
    source: z.object({ kind: z.enum(['folder', 'git', 'image', 'package']), description: z.string() }),
    state: z.enum(['building', 'ready', 'failed']),
    artifact: z.string().nullable().describe('sha256 digest of the bundle, or the image reference'),
    buildInstanceId: z.string().nullable(),
    reason: reasonShape(z).nullable(),
    createdAtMs: z.number(),
    createdBy: z.string(),
  });

const splitRuleShape = (z: Z) =>
  z.strictObject({
    kind: z.enum(['header', 'cookie']),
    name: z
      .string()
      .max(100)
      .regex(/^[\w!#$%&'*+.^`|~-]+$/u, 'must be the name of a header or cookie'),
    value: z.string().max(200).nullable().describe('null: whatever it holds'),
  });

const stickyShape = (z: Z) =>
  z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('cookie'), name: z.string().min(1).max(100).nullable().describe('null: a cookie of the Edge') }),
    z.strictObject({ kind: z.literal('header'), name: z.string().min(1).max(100) }),
    z.strictObject({ kind: z.literal('address') }),
  ]);

const canaryStepShape = (z: Z) =>
  z.strictObject({
    percent: z.number().min(0).max(100),
    holdMs: z.number().int().min(0).max(2_592_000_000).nullable().describe('null: until somebody promotes'),
  });

/** How a Deployment is tried beside the one that serves. */
export const canaryPlanShape = (z: Z) =>
  z.strictObject({
    steps: z.array(canaryStepShape(z)).min(1).max(20),
    rules: z.array(splitRuleShape(z)).max(20).default([]).describe('requests that go to it whatever its share'),
    sticky: stickyShape(z).nullable().default(null),
    abortOn: z
      .strictObject({
        errorRate: z.number().min(0).max(1).describe('failed requests beyond those of the stable Deployment, as a part of all'),
        latency: z.number().min(1).max(1000).describe('so many times slower than the stable Deployment'),
        requests: z.number().int().min(1).max(1_000_000).describe('requests without which nothing is judged'),
      })
      .nullable()
      .default(null)
      .describe('null: it is never taken back by itself'),
    keepMs: z.number().int().min(0).max(86_400_000).default(0).describe('how long the old Instances stay at hand after the promotion'),
  });

const figuresShape = (z: Z) =>
  z.object({
    requests: z.number(),
    errorRate: z.number().nullable().describe('0 to 1: answered with 5xx, or not at all'),
    meanMs: z.number().nullable(),
    p50Ms: z.number().nullable(),
    p99Ms: z.number().nullable(),
  });

const canaryStateShape = (z: Z) =>
  z.object({
    steps: z.array(canaryStepShape(z)),
    /** `header:x-beta=1`. */
    rules: z.array(z.string()),
    sticky: z.string().nullable(),
    keepMs: z.number(),
    step: z.number().nullable().describe('which of the steps, from 1; null: the share was set by hand'),
    percent: z.number().describe('share that is asked for'),
    percentInForce: z.number(),
    promoted: z.boolean(),
    nextAtMs: z.number().nullable().describe('when the next step begins; null: it waits for somebody, or for Instances'),
    waits: z.boolean().describe('nothing happens any more until somebody promotes or aborts'),
    figures: z
      .array(z.object({ entrypoint: z.string(), windowMs: z.number(), stable: figuresShape(z), candidate: figuresShape(z) }))
      .describe('both versions in the same time, while they stand side by side'),
  });

const stepShape = (z: Z) =>
  z.object({
    name: z.enum(['build', 'before-deploy', 'canary', 'start', 'drain', 'return']),
    state: z.enum(['pending', 'running', 'done', 'failed', 'skipped']),
    startedAtMs: z.number().nullable(),
    endedAtMs: z.number().nullable(),
    message: z.string(),
  });

export const deploymentShape = (z: Z) =>
  z.object({
    id: z.string(),
    app: z.string(),
    environment: z.string(),
    number: z.number(),
    release: z.number(),
    label: z.string().nullable(),
    cause: z.enum(['deploy', 'rollback', 'restart', 'config']),
    fromNumber: z.number().nullable(),
    phase: z.enum([
      'waiting',
      'before-deploy',
      'canary',
      'rolling',
      'draining',
      'returning',
      'succeeded',
      'failed',
      'superseded',
      'canceled',
    ]),
    stable: z.boolean(),
    canary: canaryStateShape(z).nullable().describe('null: it is no canary'),
    steps: z.array(stepShape(z)),
    reason: reasonShape(z).nullable(),
    log: z.array(z.object({ atMs: z.number(), message: z.string() })),
    url: z.string().nullable(),
    createdAtMs: z.number(),
    createdBy: z.string(),
    endedAtMs: z.number().nullable(),
  });

const networkShape = (z: Z) => z.object({ receivedBytes: z.number(), sentBytes: z.number() });
const diskShape = (z: Z) => z.object({ readBytes: z.number(), writtenBytes: z.number() });

/** Steps of a history, oldest first; null: it could not be told. */
export const usagePointsShape = (z: Z) =>
  z.array(
    z.object({
      atMs: z.number().describe('Beginning of the step; steps in which nothing was measured are missing'),
      cpu: z.number().nullable().describe('Cores, on average'),
      memoryBytes: z.number().nullable().describe('The most'),
      receivedPerSecond: z.number().nullable().describe('Bytes, on average, as all that follows'),
      sentPerSecond: z.number().nullable(),
      readPerSecond: z.number().nullable(),
      writtenPerSecond: z.number().nullable(),
    }),
  );

export const instanceShape = (z: Z) =>
  z.object({
    id: z.string(),
    app: z.string(),
    environment: z.string().nullable(),
    entrypoint: z.string(),
    role: z.enum(['service', 'before-deploy', 'schedule', 'run', 'build']),
    slot: z.number(),
    deployment: z.number().nullable(),
    release: z.number(),
    node: z.string(),
    desired: z.enum(['run', 'stop']),
    draining: z.boolean(),
    part: z.enum(['main', 'canary', 'kept']).describe('canary: of the Deployment that is tried; kept: without requests, for a switch back'),
    phase: z.enum([
      'pending',
      'preparing',
      'starting',
      'running',
      'unhealthy',
      'backoff',
      'stopping',
      'stopped',
      'succeeded',
      'failed',
      'unknown',
      'lost',
    ]),
    healthy: z.boolean(),
    leftOut: z.boolean().describe('An Edge sends it no requests for a while, since it failed some.'),
    address: z.object({ host: z.string(), port: z.number() }).nullable(),
    pid: z.number().nullable(),
    restarts: z.number(),
    crashLoop: z.boolean(),
    exit: z.object({ code: z.number().nullable(), signal: z.string().nullable(), atMs: z.number() }).nullable(),
    reason: reasonShape(z).nullable(),
    usage: z
      .object({
        cpu: z.number().nullable().describe('Cores, on average over the last seconds'),
        cpuSeconds: z.number().describe('Since its program was started'),
        memoryBytes: z.number(),
        processes: z.number(),
        network: networkShape(z)
          .nullable()
          .describe('Since its program was started, as `disk`; null: it cannot be told from the rest of the machine'),
        disk: diskShape(z).nullable().describe('null: nobody counts it'),
      })
      .nullable()
      .describe('What it takes; null while it does not run or has not been measured yet'),
    notEnforced: z.array(z.string()),
    startedAtMs: z.number().nullable(),
    createdAtMs: z.number(),
  });

export const environmentShape = (z: Z) =>
  z.object({
    id: z.string(),
    app: z.string(),
    name: z.string(),
    runtime: z.string(),
    stopped: z.boolean(),
    paused: z
      .object({ sinceMs: z.number(), heldUntilMs: z.number() })
      .nullable()
      .describe('requests that come until heldUntilMs wait, later ones get a page'),
    state: z.enum(['active', 'deleting']),
    stable: z.number().nullable().describe('number of the Deployment that serves'),
    candidate: z.number().nullable().describe('number of the Deployment being brought in'),
    release: z.number().nullable(),
    url: z.string().nullable(),
    entrypoints: z.array(
      z.object({
        name: z.string(),
        run: z.enum(['service', 'schedule', 'before-deploy', 'manual']),
        command: z.array(z.string()),
        wanted: z.number(),
        healthy: z.number(),
        /** Where `wanted` comes from. */
        source: z.enum(['override', 'environment', 'entrypoint', 'default']),
        schedule: z.string().nullable(),
        nextTickMs: z.number().nullable(),
      }),
    ),
    createdAtMs: z.number(),
  });

export const routeShape = (z: Z) =>
  z.object({
    host: z.string(),
    path: z.string(),
    pathType: z.enum(['prefix', 'exact', 'pattern']),
    conditions: z.array(z.string()).describe('What it asks beside host and path'),
    policy: z.array(z.string()).describe('What it does beside sending a request on'),
    app: z.string(),
    environment: z.string(),
    entrypoint: z.string(),
    url: z.string(),
    targets: z.number().describe('Instances that get traffic now'),
  });

export const nodeShape = (z: Z) =>
  z.object({
    id: z.string(),
    name: z.string(),
    runtime: z.string(),
    labels: z.record(z.string(), z.string()),
    scheduling: z.enum(['open', 'cordoned', 'draining']),
    /** What the machine may run. */
    roles: z.array(z.string()),
    state: z.enum(['up', 'down', 'unknown']),
    drivers: z.array(
      z.object({
        name: z.string(),
        artifacts: z.array(z.string()),
        limits: z.object({ cpu: z.string(), memory: z.string(), user: z.string(), disk: z.string(), cores: z.string().optional() }),
      }),
    ),
    /** What Instances may have of it. */
    capacity: z.object({
      cpu: z.number(),
      memoryBytes: z.number(),
      /** null: it is not known, and no bound. */
      volumeBytes: z.number().nullable(),
      devices: z.record(z.string(), z.number()),
    }),
    requested: z.object({
      cpu: z.number(),
      memoryBytes: z.number(),
      volumeBytes: z.number(),
      devices: z.record(z.string(), z.number()),
      instances: z.number(),
    }),
    /** So many times its capacity may be asked for. */
    overcommit: z.object({ cpu: z.number(), memory: z.number() }),
    /** Share of what it has that Instances do not get. */
    reserved: z.number(),
    usage: z
      .object({
        cpu: z.number().nullable().describe('Cores, on average over the last seconds'),
        load: z.array(z.number()).nullable().describe('Averages over 1, 5 and 15 minutes'),
        memoryBytes: z.number().nullable(),
        network: networkShape(z).nullable().describe('Since the machine was started, as `disk`; without loopback'),
        disk: diskShape(z).nullable(),
        space: z.object({ usedBytes: z.number(), sizeBytes: z.number() }).nullable().describe('Of the file system with its data folder'),
      })
      .nullable()
      .describe('What the machine does as a whole; null while it has not been told lately'),
    /** Of Libra there; null: it has not said. */
    version: z.string().nullable(),
    lastSeenMs: z.number().nullable(),
  });

export const eventShape = (z: Z) =>
  z.object({
    id: z.string(),
    atMs: z.number(),
    level: z.enum(['info', 'warning', 'error']),
    kind: z.string(),
    message: z.string(),
    app: z.string().nullable(),
    environment: z.string().nullable(),
    runbook: z.string().nullable(),
  });

export const logLineShape = (z: Z) =>
  z.object({
    atMs: z.number(),
    instanceId: z.string(),
    entrypoint: z.string(),
    slot: z.number(),
    stream: z.enum(['stdout', 'stderr']),
    text: z.string(),
  });

/** What a change would do, before anything is done. */
export const planShape = (z: Z) =>
  z.object({
    app: z.string(),
    environment: z.string(),
    runtime: z.string(),
    /** new App or Environment that would be made. */
    creates: z.array(z.string()),
    /** One line per difference to what runs, in reading order; empty: nothing would change. */
    changes: z.array(
      z.object({
        kind: z.enum(['add', 'change', 'remove']),
        /** Such as `entrypoints.web.command` or `env.LOG_LEVEL`. */
        path: z.string(),
        from: z.string().nullable(),
        to: z.string().nullable(),
      }),
    ),
    /** How each service Entrypoint would be brought in, and why so. */
    rollouts: z.array(
      z.object({
        entrypoint: z.string(),
        instances: z.number(),
        source: z.enum(['override', 'environment', 'entrypoint', 'default']),
        order: z.enum(['start-first', 'stop-first']),
        why: z.string(),
        nodes: z.array(z.string()),
      }),
    ),
    beforeDeploy: z.array(z.string()),
    canary: z
      .object({ description: z.string(), entrypoints: z.array(z.string()) })
      .nullable()
      .describe('How it is tried beside what serves, and which Entrypoints; null: it is rolled out at once'),
    routes: z.array(
      z.object({
        host: z.string(),
        path: z.string(),
        pathType: z.enum(['prefix', 'exact', 'pattern']),
        /** What it asks beside host and path, in words; as in the list of Routes. */
        conditions: z.array(z.string()),
        /** What it does beside sending requests on, in words. */
        policy: z.array(z.string()),
        entrypoint: z.string(),
        url: z.string(),
      }),
    ),
    /** Overrides of the Environment that stay in force. */
    keptOverrides: z.array(z.string()),
    warnings: z.array(z.string()),
    /** Why it would be refused; empty: it can be done. */
    refusals: z.array(z.object({ code: z.string(), message: z.string(), hint: z.string().nullable() })),
  });
