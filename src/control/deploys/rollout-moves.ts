// Moves from one phase to the next that several phases share: rolling out, giving back, ending.

import type { DeploymentStatus, Reason } from '../../model/documents.ts';
import type { Draft } from './rollout-draft.ts';
import type { EntrypointState } from './rollout-slots.ts';
import { endStatus, endStep, runStep, withLog } from './rollout-status.ts';

/** The whole candidate comes in, old Instances leave one by one. */
export function roll(draft: Draft, status: DeploymentStatus): void {
  draft.setStatus({ ...runStep(status, 'start', draft.input.nowMs, 'starting'), phase: 'rolling', progress: {} });
}

export function isCanceled(draft: Draft, status: DeploymentStatus): boolean {
  return status.cancelRequested || draft.environment().stopped;
}

export function canceledReason(draft: Draft): Reason {
  const message = draft.environment().stopped ? 'The Environment was stopped meanwhile.' : 'Canceled on request.';
  return { code: 'canceled', message, hint: null, lastLines: [], instanceId: null };
}

/** Automatic return: its own Instances leave, the earlier Deployment is brought back to full count. */
export function giveBack(draft: Draft, status: DeploymentStatus, reason: Reason): void {
  const { nowMs } = draft.input;
  let failed = status;
  for (const step of ['before-deploy', 'canary', 'start'] as const) failed = endStep(failed, step, 'failed', nowMs);
  const skipped = endStep(failed, 'drain', 'skipped', nowMs);
  const logged = withLog({ ...skipped, reason }, nowMs, reason.code === 'canceled' ? reason.message : `Failed: ${reason.message}`);
  const environment = draft.environment();
  const message = environment.stableDeploymentId === null ? 'removing what was started' : 'bringing the earlier Deployment back in full';
  draft.setStatus({ ...runStep(logged, 'return', nowMs, message), phase: 'returning' });
  if (environment.standby !== undefined && environment.standby !== null) draft.setEnvironment({ standby: null });
}

export function finish(
  draft: Draft,
  status: DeploymentStatus,
  phase: 'succeeded' | 'failed' | 'canceled',
  message: string,
  reason: Reason | null = status.reason,
): void {
  const number = draft.deployment(status.id)?.deployment.number ?? 0;
  draft.setStatus(endStatus(status, phase, draft.input.nowMs, message, reason));
  draft.setEnvironment({ candidateDeploymentId: null });
  draft.event({
    level: phase === 'failed' ? 'error' : 'info',
    kind: `deployment.${phase}`,
    message: `Deployment ${number} ${phase}${reason === null ? '' : `: ${reason.message}`}`,
    deploymentId: status.id,
    ...(reason?.code === 'canary_worse' ? { runbook: 'canary-taken-back' } : {}),
  });
}

export function progressMessage(states: readonly EntrypointState[]): string {
  if (states.length === 0) return 'nothing to run permanently';
  return states
    .map((state) => `${state.spec.name} ${state.slots.filter((slot) => slot.available).length} of ${state.wanted} healthy`)
    .join(', ');
}
