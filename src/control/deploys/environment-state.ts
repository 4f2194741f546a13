// What an Environment is doing, as people see it: counted from its Instances each time, through the view's indexes.

import { wantedInstances } from '../../model/effective.ts';
import type { WantedInstances } from '../../model/effective.ts';
import type { Deployment, Environment, InstanceSpec } from '../../model/documents.ts';
import type { EntrypointSpec } from '../../model/manifest-types.ts';
import type { View } from '../../store/view.ts';
import { releaseRecords } from '../apps/records.ts';
import { instanceStatusRecords } from '../cluster/records.ts';
import { deploymentRecords, deploymentStatusRecords, instanceSpecRecords } from './records.ts';
import { isServing } from './rollout-draft.ts';

interface EntrypointCount {
  readonly spec: EntrypointSpec;
  readonly wanted: number;
  readonly source: WantedInstances['source'];
  readonly healthy: number;
}

export interface EnvironmentState {
  /** new: never deployed. canary: two versions stand side by side. paused: requests wait. degraded: fewer healthy than wanted. down: none healthy, or no Deployment ever succeeded. */
  readonly status: 'new' | 'deploying' | 'canary' | 'healthy' | 'degraded' | 'down' | 'paused' | 'stopped';
  readonly stable: Deployment | null;
  readonly candidate: Deployment | null;
  /** Release number of the stable Deployment. */
  readonly release: number | null;
  readonly healthy: number;
  readonly wanted: number;
  /** Of the stable Deployment, before the first success of the candidate. */
  readonly entrypoints: readonly EntrypointCount[];
}

export function environmentState(view: View, environment: Environment): EnvironmentState {
  const find = (id: string | null): Deployment | null => (id === null ? null : (view.get(deploymentRecords, id)?.document ?? null));
  const stable = find(environment.stableDeploymentId);
  const candidate = find(environment.candidateDeploymentId);
  const healthyOf = new Map<string, number>();
  for (const { document: spec } of view.by(instanceSpecRecords, 'environment', environment.id)) {
    if (spec.role !== 'service' || partOf(view, environment, spec) !== 'main') continue;
    const status = view.get(instanceStatusRecords, spec.id)?.document ?? null;
    if (isServing({ spec, status })) healthyOf.set(spec.entrypoint, (healthyOf.get(spec.entrypoint) ?? 0) + 1);
  }
  const entrypoints = Object.values((stable ?? candidate)?.entrypoints ?? {}).map((spec): EntrypointCount => {
    const { instances, source } = wantedInstances(spec, null, environment.name, environment.overrides);
    return { spec, wanted: environment.stopped ? 0 : instances, source, healthy: healthyOf.get(spec.name) ?? 0 };
  });
  const sum = (pick: (one: EntrypointCount) => number): number => entrypoints.reduce((total, one) => total + pick(one), 0);
  const wanted = sum((one) => one.wanted);
  // While an update rolls there can be more healthy ones than wanted.
  const healthy = sum((one) => Math.min(one.healthy, one.wanted));
  const release = stable === null ? null : (view.get(releaseRecords, stable.releaseId)?.document.number ?? null);
  const tried = candidate !== null && view.get(deploymentStatusRecords, candidate.id)?.document.phase === 'canary';
  const status = tried && !environment.stopped ? 'canary' : statusOf(environment, { stable, candidate, wanted, healthy });
  return { status, stable, candidate, release, healthy, wanted, entrypoints };
}

/** Whether an Instance belongs to what serves, to the Deployment that is tried, or is only kept at hand. */
export function partOf(view: View, environment: Environment, spec: InstanceSpec): 'main' | 'canary' | 'kept' {
  if (spec.deploymentId === null || spec.role !== 'service') return 'main';
  if (spec.deploymentId === environment.standby?.deploymentId) return 'kept';
  if (spec.deploymentId !== environment.candidateDeploymentId) return 'main';
  return view.get(deploymentStatusRecords, spec.deploymentId)?.document.phase === 'canary' ? 'canary' : 'main';
}

function statusOf(
  environment: Environment,
  seen: Pick<EnvironmentState, 'stable' | 'candidate' | 'wanted' | 'healthy'>,
): EnvironmentState['status'] {
  if (seen.candidate !== null) return 'deploying';
  if (environment.stopped) return 'stopped';
  if (environment.hold !== undefined && environment.hold !== null) return 'paused';
  if (seen.stable === null) return environment.lastDeployment === 0 ? 'new' : 'down';
  if (seen.healthy >= seen.wanted) return 'healthy';
  return seen.healthy === 0 ? 'down' : 'degraded';
}
