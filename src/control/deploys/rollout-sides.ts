// Who stands beside whom: normally one Deployment and all Instances of the Environment; during a canary two, each with its own
// Instances; after a switch the old one's Instances are out of the game for a while. What is outside of every side is left alone.

import { canaryInstances, isSwitch } from '../../model/canary.ts';
import type { Deployment, InstanceSpec } from '../../model/documents.ts';
import type { EntrypointSpec } from '../../model/manifest-types.ts';
import type { Draft } from './rollout-draft.ts';
import type { RolloutDeployment } from './rollout-input.ts';
import { entrypointState, servicesOf, wantedOf } from './rollout-slots.ts';
import type { EntrypointState, Scope } from './rollout-slots.ts';

export interface Side {
  /** null: nothing shall run. */
  readonly target: Deployment | null;
  readonly services: readonly EntrypointSpec[];
  readonly scope: Scope;
}

export function statesOf(draft: Draft, side: Side): readonly EntrypointState[] {
  const { target } = side;
  return target === null ? [] : side.services.map((spec) => entrypointState(draft, target, spec, side.scope));
}

/** The Deployment that shall run, with everything that is not set apart. */
export function mainSide(draft: Draft, target: Deployment | null): Side {
  const candidate = draft.deployment(draft.environment().candidateDeploymentId);
  const apart = candidate?.status.phase === 'canary' ? candidate.deployment.id : null;
  return {
    target,
    services: target === null ? [] : servicesOf(target),
    scope: {
      includes: (spec) => (apart === null || spec.deploymentId !== apart) && !isKept(draft, spec),
      wanted: (spec) => wantedOf(draft.input, spec),
    },
  };
}

/** The canary with its own Instances, as many as its share takes. */
export function canarySide(draft: Draft, { deployment, status }: RolloutDeployment, stable: Deployment): Side {
  const { canary: plan } = deployment;
  const { canary: progress } = status;
  return {
    target: deployment,
    services: canaryServices(draft, deployment, stable),
    scope: {
      includes: (spec) => spec.deploymentId === deployment.id,
      wanted: (spec) => {
        const all = wantedOf(draft.input, spec);
        if (plan === undefined || plan === null || progress === undefined || progress === null || progress.promote) return all;
        return canaryInstances(plan, progress.percent, all);
      },
    },
  };
}

/**
 * Entrypoints that two versions of can stand side by side and that get requests: only those can be tried. A worker would take its part
 * of the work whatever the share says; it moves at the promotion, as do those that cannot have a twin. New ones come along, so that they
 * are there when the others take over.
 */
export function canaryServices(draft: Draft, candidate: Deployment, stable: Deployment): readonly EntrypointSpec[] {
  return servicesOf(candidate).filter((spec) => {
    const before = stable.entrypoints[spec.name];
    return canStandBeside(draft, candidate, spec) && (before === undefined || canStandBeside(draft, stable, before));
  });
}

function canStandBeside(draft: Draft, deployment: Deployment, spec: EntrypointSpec): boolean {
  const release = draft.deployment(deployment.id)?.release;
  return spec.listens && !spec.singleton && release !== undefined && !draft.input.stopFirst(spec, release);
}

/** Whether the whole candidate stands beside the stable one before it takes over. */
export function standsInFull(deployment: Deployment): boolean {
  const { canary } = deployment;
  return canary !== undefined && canary !== null && (isSwitch(canary) || canary.keepMs > 0);
}

/** An Instance that is kept at hand for a switch back. */
export function isKept(draft: Draft, spec: InstanceSpec): boolean {
  const { standby } = draft.environment();
  if (standby === undefined || standby === null || spec.deploymentId !== standby.deploymentId) return false;
  if (spec.role !== 'service' || spec.desired === 'stop' || spec.draining) return false;
  const deployment = draft.deployment(standby.deploymentId)?.deployment;
  const entrypoint = deployment?.entrypoints[spec.entrypoint];
  return deployment !== undefined && entrypoint !== undefined && canStandBeside(draft, deployment, entrypoint);
}
