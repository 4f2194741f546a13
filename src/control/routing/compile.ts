// From the records of one Environment to its part of the route table, and from all parts to the rules in force. Pure: the same records
// give the same table, in the same order, whatever was compiled before.

import { isDeepStrictEqual as sameValue } from 'node:util';
import type { RouteGroup, RouteParty, RouteRule, RouteService, RouteSplit, RouteTarget } from '../../api/dataplane.ts';
import { effectiveRoutes, routeOf } from '../../model/effective.ts';
import { FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { App, Deployment, Environment, InstanceSpec, InstanceStatus } from '../../model/documents.ts';
import type { EntrypointSpec, ProvidedService } from '../../model/manifest-types.ts';
import { DEFAULT_TRAFFIC } from '../../model/traffic-policy.ts';
import { withSessions } from './compile-sessions.ts';
import type { SessionInput } from './compile-sessions.ts';

/** Requests that one Entrypoint of a paused Environment may keep waiting at one Edge. */
const HELD_REQUESTS = 1000;

export interface EnvironmentInput {
  readonly app: App;
  readonly environment: Environment;
  /** Base domain of Apps. */
  readonly domain: string;
  readonly stable: Deployment | null;
  readonly candidate: Deployment | null;
  /** The service Instances, of whatever Deployment, in id order. */
  readonly instances: readonly {
    readonly spec: InstanceSpec;
    readonly status: InstanceStatus | null;
    readonly deployment: Deployment | null;
    /** Of its Node; absent: it has none. */
    readonly via?: { readonly host: string; readonly port: number };
  }[];
  /** What the manifest of the stable Deployment provides, or of the first candidate. */
  readonly provides: Readonly<Record<string, ProvidedService>>;
  /** Instances of any role that run for the Environment and whose Deployment uses Services, in id order. */
  readonly callers: readonly { readonly instanceId: string; readonly nodeId: string; readonly uses: readonly string[] }[];
  /** Absent: none. */
  readonly sessions?: readonly SessionInput[];
}

/** One Environment's part of the table. */
export interface CompiledEnvironment {
  readonly environmentId: string;
  readonly createdAtMs: number;
  readonly rules: readonly RouteRule[];
  readonly groups: readonly RouteGroup[];
  /** null: it provides nothing and uses nothing. */
  readonly party: RouteParty | null;
}

/**
 * Rules come from the stable Deployment (from the first candidate before there is one); groups exist for every service Entrypoint that
 * listens, of either, so that new Instances are in force before rules point at them.
 */
export function compileEnvironment(input: EnvironmentInput): CompiledEnvironment {
  const { app, environment } = input;
  const part = { environmentId: environment.id, createdAtMs: environment.createdAtMs };
  if (environment.state === 'deleting' || app.state === 'deleting') return { ...part, rules: [], groups: [], party: null };
  const entrypoints = new Map<string, EntrypointSpec>();
  for (const deployment of [input.candidate, input.stable]) {
    for (const [name, spec] of Object.entries(deployment?.entrypoints ?? {}))
      if (spec.run === 'service' && spec.listens) entrypoints.set(name, spec);
  }
  for (const { spec: instance, status, deployment } of input.instances) {
    // Of an Entrypoint that is no more: no rule points at it, but what it still answers has its drain.
    const spec = deployment?.entrypoints[instance.entrypoint];
    const ended = status !== null && FINAL_INSTANCE_PHASES.has(status.phase);
    if (spec?.listens === true && !ended && !entrypoints.has(spec.name)) entrypoints.set(spec.name, spec);
  }
  const rules: RouteRule[] = [];
  for (const [name, spec] of Object.entries((input.stable ?? input.candidate)?.entrypoints ?? {})) {
    if (spec.run !== 'service' || !spec.listens) continue;
    for (const route of effectiveRoutes(spec, app.name, environment.name, input.domain)) {
      rules.push({ ...routeOf(route), group: `${environment.id}/${name}` });
    }
  }
  const groups = [...entrypoints.values()].sort((a, b) => (a.name < b.name ? -1 : 1)).map((spec) => compileGroup(input, spec));
  const all = withSessions(input, rules, groups);
  return { ...part, ...all, party: compileParty(input, new Set(entrypoints.keys())) };
}

function compileParty({ app, environment, provides, callers }: EnvironmentInput, listening: ReadonlySet<string>): RouteParty | null {
  const services: Record<string, RouteService> = {};
  for (const [name, { entrypoint, path, allow }] of Object.entries(provides))
    if (listening.has(entrypoint)) services[name] = { group: `${environment.id}/${entrypoint}`, path, allow };
  const byUses = new Map<string, { readonly uses: readonly string[]; readonly instances: Record<string, string> }>();
  for (const { instanceId, nodeId, uses } of callers) {
    const key = uses.join(' ');
    const known = byUses.get(key) ?? { uses, instances: {} };
    known.instances[instanceId] = nodeId;
    byUses.set(key, known);
  }
  if (Object.keys(services).length === 0 && byUses.size === 0) return null;
  const sorted = [...byUses].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, known]) => known);
  return { id: environment.id, app: app.name, environment: environment.name, provides: services, callers: sorted };
}

/** `entrypointSpec` is the stable Deployment's where it has one: a policy is of the group, whatever versions are in it. */
function compileGroup(input: EnvironmentInput, entrypointSpec: EntrypointSpec): RouteGroup {
  const { app, environment } = input;
  const { name: entrypoint } = entrypointSpec;
  const targets: RouteTarget[] = [];
  let starting = false;
  for (const instance of input.instances) {
    const { spec, status } = instance;
    if (spec.entrypoint !== entrypoint) continue;
    const target = compileTarget(instance, environment.stopped);
    if (target !== null) targets.push(target);
    if (spec.desired === 'run' && !spec.draining && isStarting(status)) starting = true;
  }
  const serving = targets.some((target) => target.state === 'active');
  const split = compileSplit(environment, targets);
  return {
    id: `${environment.id}/${entrypoint}`,
    app: app.name,
    environment: environment.name,
    entrypoint,
    state: environment.stopped ? 'stopped' : serving ? 'serving' : starting || isBeforeFirst(input) ? 'starting' : 'down',
    targets,
    ...(split === null ? {} : { split }),
    ...(environment.hold === undefined || environment.hold === null || environment.stopped
      ? {}
      : { hold: { untilMs: environment.hold.sinceMs + environment.hold.maxMs, max: HELD_REQUESTS } }),
    ...compilePolicy(entrypointSpec),
  };
}

/** Most groups have the default, which is left out: the table is kept by every Edge. */
function compilePolicy({ traffic, health, pages }: EntrypointSpec): Pick<RouteGroup, 'policy' | 'healthPath' | 'pages'> {
  return {
    ...(pages === undefined ? {} : { pages }),
    ...(traffic === undefined || sameValue(traffic, DEFAULT_TRAFFIC) ? {} : { policy: traffic }),
    ...(health.probe.kind === 'http' ? { healthPath: health.probe.path } : {}),
  };
}

/** The Environment's one split, where this Entrypoint has anything to share. */
function compileSplit(environment: Environment, targets: readonly RouteTarget[]): RouteSplit | null {
  const { split } = environment;
  if (split === undefined || split === null) return null;
  const { deploymentId, ...share } = split;
  const stableDeploymentId = deploymentId === environment.candidateDeploymentId ? environment.stableDeploymentId : null;
  // What is on neither side counts too: without a split it would get requests.
  const apart = targets.some((target) =>
    stableDeploymentId === null ? target.deploymentId === deploymentId : target.deploymentId !== stableDeploymentId,
  );
  return apart ? { ...share, candidateDeploymentId: deploymentId, stableDeploymentId } : null;
}

function compileTarget({ spec, status, deployment, via }: EnvironmentInput['instances'][number], stopped: boolean): RouteTarget | null {
  if (status === null || status.address === null || FINAL_INSTANCE_PHASES.has(status.phase) || spec.desired !== 'run') return null;
  const target = {
    instanceId: spec.id,
    deploymentId: spec.deploymentId ?? '',
    ...(deployment === null ? {} : { deploymentNumber: deployment.number }),
    nodeId: spec.nodeId,
    ...status.address,
    ...(via === undefined ? {} : { via, generation: status.generation }),
  };
  if (spec.draining) {
    const drainMs = deployment?.entrypoints[spec.entrypoint]?.rollout.drainMs ?? 0;
    return { ...target, state: 'draining', drainUntilMs: (spec.drainingSinceMs ?? 0) + drainMs };
  }
  return status.healthy && !stopped ? { ...target, state: 'active', drainUntilMs: null } : null;
}

function isStarting(status: InstanceStatus | null): boolean {
  if (status === null) return true;
  return status.phase === 'pending' || status.phase === 'preparing' || (status.phase === 'starting' && !status.crashLoop);
}

/** The first Deployment is on its way and nothing runs yet: a build, a before-deploy. */
function isBeforeFirst(input: EnvironmentInput): boolean {
  return input.stable === null && input.candidate !== null && input.instances.length === 0;
}
