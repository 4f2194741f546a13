// The modules of Apps, Deployments and builds over a real store in memory, with one Node whose agent does what a test tells it. Passes are
// made by hand, so that a test sees every state in between.

import { Readable } from 'node:stream';
import type { table } from '../../api/table.ts';
import type { BlobStore } from '../../blob/blob.ts';
import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { InstanceSpec, InstanceStatus } from '../../model/documents.ts';
import type { Comparison } from '../../model/version-counts.ts';
import { create, put, update } from '../../store/records.ts';
import { TAR_END } from '../../sys/bundle-tar.ts';
import { createApps } from '../apps/apps.ts';
import type { Apps } from '../apps/apps.ts';
import { teamRecords } from '../auth/records.ts';
import { createBuilds } from '../builds/builds.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords, runtimeRecords } from '../cluster/records.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import type { Call } from '../handler.ts';
import { aNode, aStatus, callOf, createTestContext } from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import type { CurrentValues } from './deployment-content.ts';
import { createDeploys } from './deploys.ts';
import type { Deploys } from './deploys.ts';
import { instanceSpecRecords } from './records.ts';

export const DIGEST = `sha256:${'a'.repeat(64)}`;

/** What the agent reports for an Instance that shall run; null: nothing yet. */
export type AgentScript = (spec: InstanceSpec) => Partial<InstanceStatus> | null;

const running: AgentScript = (spec) =>
  spec.role === 'service' ? { phase: 'running', healthy: true } : { phase: 'succeeded', healthy: false };

export interface Platform {
  readonly context: TestContext;
  readonly apps: Apps['handlers'];
  readonly deploys: Deploys['handlers'];
  /** Changed by a test: what the agent does. */
  agent: AgentScript;
  /** Values and Secrets that are set. */
  values: CurrentValues;
  unavailable: Set<string>;
  /** What the Edges have counted. */
  comparisons: readonly Comparison[];
  /** Whether every Edge follows in time. */
  everywhere: boolean;
  routeOwner: { readonly environmentId: string; readonly app: string; readonly environment: string } | null;
  blobs: Map<string, number>;
  /** Contents of blobs that are not an empty folder. */
  readonly archives: Map<string, Uint8Array>;
  /** One pass of every reconciler, or of those named, then the agent. */
  pass(...names: readonly string[]): Promise<void>;
  /** Passes until nothing changes. */
  settle(): Promise<void>;
  deploy(manifest: string, canary?: CanaryBody): Promise<number>;
  create(body: DeployBody): Promise<Awaited<ReturnType<Deploys['handlers']['deployments']['create']>>>;
  deployment(number: number): ReturnType<Deploys['handlers']['deployments']['get']>;
  instances(): readonly { readonly spec: InstanceSpec; readonly status: InstanceStatus | undefined }[];
  close(): Promise<void>;
}

export type DeployBody = Call<typeof table.deployments.create>['body'];

type CanaryBody = Extract<DeployBody, { cause: 'deploy' }>['canary'];

export const WHERE = { app: 'shop', environment: 'production' } as const;
const PASSES = 60;

export async function createPlatform(settings: Parameters<typeof createTestContext>[0] = {}): Promise<Platform> {
  const test = await createTestContext(settings);
  const blobSizes = new Map([[DIGEST, 10]]);
  const blobs: BlobStore = {
    stat: async (digest) => {
      const sizeBytes = blobSizes.get(digest);
      return sizeBytes === undefined ? undefined : { digest, sizeBytes, createdAtMs: 0 };
    },
    uploadOffset: async () => 0,
    upload: async () => undefined,
    read: async (digest) => Readable.from([platform.archives.get(digest) ?? TAR_END]),
    // oxlint-disable-next-line require-yield -- an empty list
    list: async function* list() {
      return;
    },
    collect: async ({ keep }) => {
      let deleted = 0;
      for (const digest of blobSizes.keys()) if (!keep.has(digest) && blobSizes.delete(digest)) deleted += 1;
      return { deleted, freedBytes: 0 };
    },
    usage: async () => 0,
    close: async () => undefined,
  };
  const context: ControlContext & TestContext = { ...test, blobs };
  await context.view.commit(
    create(teamRecords, { id: 'team-1', name: 'default', createdAtMs: 1 }),
    create(runtimeRecords, { id: 'runtime-1', name: 'default', teamId: 'team-1', labels: {}, createdAtMs: 1 }),
    create(nodeSpecRecords, aNode()),
    put(nodeStatusRecords, {
      id: 'node-1',
      state: 'up',
      drivers: [
        { name: 'process', artifacts: ['bundle'], limits: { cpu: 'enforced', memory: 'enforced', user: 'enforced', disk: 'enforced' } },
      ],
      capacity: { cpu: 4, memoryBytes: 8e9 },
      platform: { os: 'linux', arch: 'x64', program: 'node 26' },
      bootId: 'boot-1',
      lastSeenMs: 1,
    }),
  );
  const deploys = createDeploys(context, {
    trafficState: () => ({ inForce: () => true, drained: () => true, compare: () => platform.comparisons }),
    leftOut: () => false,
    usageOf: () => null,
    resolveValues: () => platform.values,
    isValueAvailable: (id) => !platform.unavailable.has(id),
    removeValuesOf: () => [],
    routeOwner: () => platform.routeOwner,
    otherAuthority: () => null,
    urlOf: (app, environment) => `http://${app.name}.${environment.name}`,
    environmentRoutes: async () => ({ items: [] }),
    everywhere: async () => platform.everywhere,
    instanceStreams: {
      logs: async function* logs() {
        yield* [];
      },
      exec: async () => undefined,
      files: async () => undefined,
      stats: async () => ({ items: [], missing: [] }),
    },
  });
  const apps = createApps(context, { urlOf: () => null });
  const reconcilers: readonly Reconciler[] = [...deploys.reconcilers, ...createBuilds(context).reconcilers];
  const { view } = context;
  const signal = new AbortController().signal;

  /** The agent answers for every Instance once. */
  const report = async (): Promise<void> => {
    for (const { document: spec } of view.list(instanceSpecRecords)) {
      const before = view.get(instanceStatusRecords, spec.id)?.document;
      if (before !== undefined && FINAL_INSTANCE_PHASES.has(before.phase)) continue;
      const change = spec.desired === 'stop' ? { phase: 'stopped' as const, healthy: false } : platform.agent(spec);
      if (change === null) continue;
      const next = {
        ...aStatus({ id: spec.id, nodeId: spec.nodeId }),
        generation: spec.generation,
        ...change,
        updatedAtMs: before?.updatedAtMs ?? 0,
      };
      if (JSON.stringify(next) !== JSON.stringify(before))
        await view.commit(put(instanceStatusRecords, { ...next, updatedAtMs: context.clock.now() }));
    }
  };

  const platform: Platform = {
    context,
    apps: apps.handlers,
    deploys: deploys.handlers,
    agent: running,
    values: { env: new Map(), secrets: new Map() },
    unavailable: new Set(),
    comparisons: [],
    everywhere: true,
    routeOwner: null,
    blobs: blobSizes,
    archives: new Map(),
    pass: async (...names) => {
      for (const reconciler of reconcilers) if (names.length === 0 || names.includes(reconciler.name)) await reconciler.run(signal);
      await report();
    },
    settle: async () => {
      for (let count = 0; count < PASSES; count += 1) {
        const before = view.revision;
        await platform.pass('rollout', 'builds');
        await context.clock.advance(50);
        if (view.revision === before) return;
      }
      throw new Error('it never comes to rest');
    },
    deploy: async (manifest, canary) => {
      const release = await platform.apps.releases.create(
        callOf({
          params: { app: 'shop' },
          query: undefined,
          body: { manifest, bundle: DIGEST, label: null, source: { kind: 'folder', description: '' } },
        }),
      );
      const made = await platform.create({ cause: 'deploy', release: release.number, reset: false, canary });
      return made.number;
    },
    create: (body) => platform.deploys.deployments.create(callOf({ params: WHERE, query: undefined, body })),
    deployment: (number) =>
      platform.deploys.deployments.get(callOf({ params: { ...WHERE, deployment: String(number) }, query: undefined, body: undefined })),
    instances: () =>
      view.list(instanceSpecRecords).map(({ document: spec }) => ({ spec, status: view.get(instanceStatusRecords, spec.id)?.document })),
    close: () => test.close(),
  };
  return platform;
}

/** As if the driver of the Node could give Instances cores of their own. */
export async function letBindCores(platform: Platform): Promise<void> {
  const node = platform.context.view.get(nodeStatusRecords, 'node-1');
  if (node === undefined) return;
  const drivers = node.document.drivers.map((driver) => ({ ...driver, limits: { ...driver.limits, cores: 'enforced' } }));
  await platform.context.view.commit(update(nodeStatusRecords, node, { ...node.document, drivers }));
}

/** Changes the Node's scheduling. */
export async function setScheduling(platform: Platform, scheduling: 'open' | 'cordoned' | 'draining'): Promise<void> {
  const node = platform.context.view.get(nodeSpecRecords, 'node-1');
  if (node !== undefined) await platform.context.view.commit(update(nodeSpecRecords, node, { ...node.document, scheduling }));
}
