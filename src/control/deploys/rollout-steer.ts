// After the plan for the Instances: the share of what comes or leaves follows what serves. While a promoted canary is rolled out its
// share only grows, so that no user who was shown it is sent back; while it is taken back it only shrinks.

import type { Draft } from './rollout-draft.ts';
import { isServing } from './rollout-draft.ts';
import { isKept, mainSide, statesOf } from './rollout-sides.ts';
import { isComplete, liveServices } from './rollout-slots.ts';

export function steer(draft: Draft): void {
  const { split, candidateDeploymentId, stableDeploymentId } = draft.environment();
  if (split === undefined || split === null) return;
  const setPercent = (percent: number): void => {
    if (percent !== split.percent) draft.setEnvironment({ split: { ...split, percent } });
  };
  if (split.deploymentId !== candidateDeploymentId) {
    if (!liveServices(draft).some(({ spec }) => spec.deploymentId === split.deploymentId)) draft.setEnvironment({ split: null });
    return;
  }
  const phase = draft.deployment(candidateDeploymentId)?.status.phase;
  if (phase === 'rolling') return setPercent(Math.max(split.percent, Math.min(...sharesOf(draft, split.deploymentId))));
  if (phase !== 'returning') return;
  const stable = draft.deployment(stableDeploymentId)?.deployment;
  const back = stable !== undefined && statesOf(draft, mainSide(draft, stable)).every(isComplete);
  setPercent(back ? 0 : Math.min(split.percent, Math.max(...sharesOf(draft, split.deploymentId))));
}

/**
 * Part of the serving Instances that are of a Deployment, in percent, by Entrypoint that it has; at least one. One Instance among
 * hundreds is a share too: at 0 nothing could leave for it.
 */
function sharesOf(draft: Draft, deploymentId: string): readonly number[] {
  const own = draft.deployment(deploymentId)?.deployment.entrypoints;
  const counts = new Map<string, { own: number; all: number }>();
  for (const instance of liveServices(draft)) {
    const { spec } = instance;
    if (own?.[spec.entrypoint]?.listens !== true) continue;
    const listens = draft.deployment(spec.deploymentId)?.deployment.entrypoints[spec.entrypoint]?.listens === true;
    if (!listens || !isServing(instance) || !draft.input.traffic.inForce(spec.id) || isKept(draft, spec)) continue;
    const count = counts.get(spec.entrypoint) ?? { own: 0, all: 0 };
    counts.set(spec.entrypoint, { own: count.own + (spec.deploymentId === deploymentId ? 1 : 0), all: count.all + 1 });
  }
  const shares = [...counts.values()].map((count) => (count.own === 0 ? 0 : Math.max(1, Math.floor((100 * count.own) / count.all))));
  return shares.length === 0 ? [0] : shares;
}
