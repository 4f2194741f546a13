// The phase in which a candidate is tried: its Instances come up beside the stable ones, then its share comes into force, then the next
// one, until it takes everything or is taken back. A share grows only when every Instance that it takes serves; waiting has no deadline.

import { formatPercent } from '../../model/canary.ts';
import type { CanaryPlan } from '../../model/canary.ts';
import type { CanaryProgress, Deployment, DeploymentStatus, Environment, Reason } from '../../model/documents.ts';
import { judge } from '../../model/version-counts.ts';
import type { TrafficSplit } from '../../model/traffic-split.ts';
import type { Draft } from './rollout-draft.ts';
import { deadlineReason, startFailure } from './rollout-failure.ts';
import type { RolloutDeployment } from './rollout-input.ts';
import { canceledReason, giveBack, isCanceled, progressMessage, roll } from './rollout-moves.ts';
import { canaryServices, canarySide, isKept, standsInFull, statesOf } from './rollout-sides.ts';
import { isComplete } from './rollout-slots.ts';
import type { EntrypointState } from './rollout-slots.ts';
import { endStep, runStep, withLog } from './rollout-status.ts';

const NOTHING = { percent: 0, rules: [], sticky: null } as const;

/** How often the Edges' counts are looked at. */
const JUDGE_MS = 1000;
/** So long after a share came into force latencies do not count: its programs are cold. */
const WARM_MS = 15_000;
/** More often than there are steps it never goes on at one moment. */
const MAX_MOVES = 64;

/** How a canary begins; null: it is none. */
export function initialProgress(plan: CanaryPlan | null, promote: boolean): CanaryProgress | null {
  const [first] = plan?.steps ?? [];
  return first === undefined ? null : { step: 0, percent: first.percent, inForceSinceMs: null, promote };
}

/** The share of what leaves, or has not come yet: nothing. */
export function parked(deploymentId: string): TrafficSplit {
  return { deploymentId, ...NOTHING };
}

/** What a newer Deployment makes of the Environment's shares, in the commit that makes it. `old`: the candidate until now. */
export function takeOver(
  environment: Environment,
  old: DeploymentStatus | null,
  next: Deployment,
): Required<Pick<Environment, 'split' | 'standby'>> {
  const { split = null, standby = null, stableDeploymentId } = environment;
  if (next.canary !== undefined && next.canary !== null && stableDeploymentId !== null) {
    const returns = standby !== null && standby.deploymentId === next.fromDeploymentId;
    return { split: parked(next.id), standby: returns ? standby : null };
  }
  if (split === null || split.deploymentId !== old?.id) return { split, standby: null };
  // A canary gets nothing more; one that was taking over already serves on until the newer one is there.
  return { split: old.phase === 'canary' ? parked(old.id) : old.phase === 'returning' ? split : null, standby: null };
}

/** From waiting on: a canary where there is something to stand beside, else it is rolled out at once. */
export function begin(draft: Draft, candidate: RolloutDeployment, status: DeploymentStatus, stable: Deployment | null): void {
  const { nowMs } = draft.input;
  const planned = status.canary !== undefined && status.canary !== null;
  if (
    !planned ||
    stable === null ||
    !canaryServices(draft, candidate.deployment, stable).some((spec) => stable.entrypoints[spec.name] !== undefined)
  ) {
    if (!planned) return roll(draft, status);
    const why = stable === null ? 'Nothing serves yet' : 'No Entrypoint can stand beside its older version';
    draft.setEnvironment({ split: null, standby: null });
    return roll(draft, withLog(endStep(status, 'canary', 'skipped', nowMs), nowMs, `${why}: it is rolled out in full.`));
  }
  if (draft.environment().split?.deploymentId !== status.id) draft.setEnvironment({ split: parked(status.id) });
  draft.setStatus({ ...runStep(status, 'canary', nowMs, 'starting'), phase: 'canary', progress: {} });
}

export function stepCanary(draft: Draft, id: string, stable: Deployment | null): void {
  for (let move = 0; move < MAX_MOVES; move += 1) {
    const candidate = draft.deployment(id);
    if (candidate === undefined || candidate.status.phase !== 'canary') return;
    if (!moveOn(draft, candidate, stable)) return;
  }
  draft.wakeIn(0);
}

/** True: there may be more to do at once. */
function moveOn(draft: Draft, candidate: RolloutDeployment, stable: Deployment | null): boolean {
  const { deployment, status } = candidate;
  const { nowMs, elapsedMs } = draft.input;
  const { canary: plan } = deployment;
  const { canary: progress } = status;
  if (stable === null || plan === undefined || plan === null || progress === undefined || progress === null) {
    roll(draft, endStep(status, 'canary', 'skipped', nowMs));
    return false;
  }
  const failure = isCanceled(draft, status) ? canceledReason(draft) : startFailure(draft, deployment);
  if (failure !== null) return takeBack(draft, status, failure);
  if (!adopt(draft, deployment)) return false;
  const side = canarySide(draft, candidate, stable);
  const states = statesOf(draft, side);
  const complete = states.every(isComplete);
  const late = complete ? undefined : states.find((state) => isLate(draft, status, state));
  if (late !== undefined) return takeBack(draft, status, deadlineReason(draft, late, null));
  const { inForceSinceMs } = progress;
  const warm = inForceSinceMs !== null && elapsedMs(inForceSinceMs) >= WARM_MS;
  const worse = whyWorse(draft, stable, deployment, warm);
  if (worse !== null) return takeBack(draft, status, worse);

  if (progress.promote) {
    if (standsInFull(deployment)) {
      if (!complete) {
        draft.setStatus(runStep(status, 'canary', nowMs, `${progressMessage(states)}, then it takes over`));
        return false;
      }
      draft.setEnvironment({
        split: { ...parked(deployment.id), percent: 100 },
        standby: plan.keepMs > 0 ? { deploymentId: stable.id, sinceMs: nowMs, keepMs: plan.keepMs } : null,
      });
    }
    roll(
      draft,
      endStep(status, 'canary', 'done', nowMs, deployment.cause === 'rollback' ? 'what was kept at hand serves again' : 'promoted'),
    );
    return false;
  }

  const { split } = draft.environment();
  const inForce = split?.deploymentId === deployment.id ? split.percent : 0;
  if (progress.inForceSinceMs === null && (complete || progress.percent < inForce)) {
    draft.setEnvironment({ split: { deploymentId: deployment.id, percent: progress.percent, rules: plan.rules, sticky: plan.sticky } });
    draft.setStatus({ ...status, canary: { ...progress, inForceSinceMs: nowMs } });
    draft.event({
      level: 'info',
      kind: 'deployment.canary',
      message: `Deployment ${deployment.number} gets ${formatPercent(progress.percent)} of the requests`,
      deploymentId: deployment.id,
    });
    return true;
  }
  const step = progress.step === null ? undefined : plan.steps[progress.step];
  if (complete && progress.inForceSinceMs !== null && step !== undefined && step.holdMs !== null) {
    const restMs = step.holdMs - elapsedMs(progress.inForceSinceMs);
    if (restMs <= 0) {
      draft.setStatus({ ...status, canary: nextStep(plan, progress), progress: {} });
      return true;
    }
    draft.wakeIn(restMs);
  }
  const share = progress.inForceSinceMs === null ? formatPercent(inForce) : formatPercent(progress.percent);
  draft.setStatus(runStep(status, 'canary', nowMs, `${share} of the requests; ${progressMessage(states)}`));
  return false;
}

function nextStep(plan: CanaryPlan, progress: CanaryProgress): CanaryProgress {
  const index = (progress.step ?? 0) + 1;
  const next = plan.steps[index];
  return next === undefined ? { ...progress, promote: true } : { ...progress, step: index, percent: next.percent, inForceSinceMs: null };
}

/** It gets nothing more from now on, whatever still stands of it. */
function takeBack(draft: Draft, status: DeploymentStatus, reason: Reason): false {
  draft.setEnvironment({ split: parked(status.id) });
  giveBack(draft, status, reason);
  return false;
}

/** What the Edges have seen of it against the stable one; asked again soon. `warm`: latencies count too. */
export function whyWorse(draft: Draft, stable: Deployment, candidate: Deployment, warm: boolean): Reason | null {
  const limits = candidate.canary?.abortOn ?? null;
  if (limits === null) return null;
  draft.wakeIn(JUDGE_MS);
  for (const comparison of draft.input.traffic.compare(stable.id, candidate.id)) {
    const message = judge(comparison, limits, warm);
    if (message === null) continue;
    const hint = `Look at its output: libra logs --entrypoint ${comparison.entrypoint}`;
    return { code: 'canary_worse', message: `${message}.`, hint, lastLines: [], instanceId: null };
  }
  return null;
}

function isLate(draft: Draft, status: DeploymentStatus, state: EntrypointState): boolean {
  const known = status.progress?.[state.spec.name];
  return known !== undefined && !isComplete(state) && draft.input.elapsedMs(known.sinceMs) >= state.spec.rollout.deadlineMs;
}

/** A return to the version that is kept at hand: its Instances are of the same content, so they serve on under the new number. */
function adopt(draft: Draft, deployment: Deployment): boolean {
  const { standby } = draft.environment();
  if (standby === undefined || standby === null || standby.deploymentId !== deployment.fromDeploymentId) return true;
  for (const instance of draft.instances()) {
    if (isKept(draft, instance.spec) && !draft.change(instance, { deploymentId: deployment.id })) return false;
  }
  draft.setEnvironment({ standby: null });
  return true;
}
