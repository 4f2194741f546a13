// The modules that own Apps, Releases, Environments, Deployments and builds, joined: what they answer and what they reconcile.

import type { ApiTable } from '../api/table.ts';
import { Failure } from '../lib/failure.ts';
import type { Cluster } from './cluster/cluster.ts';
import type { Values } from './config/values.ts';
import type { ControlContext, Reconciler } from './context.ts';
import { createRolloutReconciler } from './deploys/rollout-reconciler.ts';
import type { HandlersOf } from './handler.ts';
import type { Routing } from './routing/routing.ts';

export type WorkloadNoun = 'apps' | 'releases' | 'plans' | 'environments' | 'deployments' | 'instances' | 'blobs';

export interface Workloads {
  readonly handlers: Pick<HandlersOf<ApiTable>, WorkloadNoun>;
  readonly reconcilers: readonly Reconciler[];
  /** Name of the reconciler that waits for what the Edges say. */
  readonly trafficReconciler: string;
}

export interface WorkloadDeps {
  readonly values: Values;
  readonly routing: Routing;
  readonly teamId: string;
  readonly instanceStreams: Cluster['instanceStreams'];
}

export function createWorkloads(context: ControlContext, deps: WorkloadDeps): Workloads {
  const rollout = createRolloutReconciler(context, { trafficState: deps.routing.trafficState });
  const absent = new Proxy({}, { get: () => () => Promise.reject(new Failure('unavailable', { message: 'Not wired yet.' })) });
  const handlers = {
    apps: absent,
    releases: absent,
    plans: absent,
    environments: absent,
    deployments: absent,
    instances: absent,
    blobs: absent,
  };
  // Interim: the handlers of these nouns land with their modules.
  return { handlers: handlers as unknown as Workloads['handlers'], reconcilers: [rollout], trafficReconciler: rollout.name };
}
