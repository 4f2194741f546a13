// The module of Environments, Deployments and Instances: what it needs from the others, and what it gives.

import type { table } from '../../api/table.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import type { NounHandlers } from '../handler.ts';
import { createScheduleReconciler } from './cron.ts';
import type { DraftDeps } from './deployment-draft.ts';
import { createDeploymentHandlers } from './deployments.ts';
import { createEnvironmentHandlers } from './environments.ts';
import type { EnvironmentDeps } from './environments.ts';
import { createGarbageReconciler } from './garbage.ts';
import type { GarbageDeps } from './garbage.ts';
import { createInstanceHandlers } from './instances.ts';
import type { InstanceDeps } from './instances.ts';
import type { PlanDeps } from './plan.ts';
import { createRolloutReconciler } from './rollout-reconciler.ts';
import type { RolloutDeps } from './rollout-reconciler.ts';

/** From routing: trafficState, leftOut, everywhere, routeOwner, otherAuthority, urlOf, environmentRoutes. From config: resolveValues, isValueAvailable, removeValuesOf. From cluster: logs, exec. */
export type DeploysDeps = RolloutDeps &
  InstanceDeps &
  Omit<EnvironmentDeps, 'view'> &
  Omit<DraftDeps, 'view'> &
  GarbageDeps &
  Pick<PlanDeps, 'routeOwner' | 'otherAuthority'>;

export interface Deploys {
  readonly handlers: {
    readonly plans: NounHandlers<typeof table.plans>;
    readonly deployments: NounHandlers<typeof table.deployments>;
    readonly environments: NounHandlers<typeof table.environments>;
    readonly instances: NounHandlers<typeof table.instances>;
  };
  readonly reconcilers: readonly Reconciler[];
}

export function createDeploys(context: ControlContext, deps: DeploysDeps): Deploys {
  const { view, settings } = context;
  return {
    handlers: {
      ...createDeploymentHandlers(context, { ...deps, view, settings }),
      environments: createEnvironmentHandlers(context, { ...deps, view }),
      instances: createInstanceHandlers(context, deps),
    },
    reconcilers: [createRolloutReconciler(context, deps), createScheduleReconciler(context), createGarbageReconciler(context, deps)],
  };
}
