// The visible record of a Deployment on its way: phase, steps with times, a bounded log. Pure; a final status is never changed again.

import type { CanaryProgress, DeploymentPhase, DeploymentStatus, DeploymentStep, Reason } from '../../model/documents.ts';

const LOG_LINES = 200;

/** The status that a new Deployment begins with. */
export function initialStatus(input: {
  readonly id: string;
  readonly environmentId: string;
  readonly nowMs: number;
  readonly building: boolean;
  readonly beforeDeploy: boolean;
  readonly canary: CanaryProgress | null;
  readonly message: string;
}): DeploymentStatus {
  const step = (name: DeploymentStep['name'], skipped: boolean): DeploymentStep => ({
    name,
    state: skipped ? 'skipped' : 'pending',
    startedAtMs: null,
    endedAtMs: null,
    message: '',
  });
  return {
    id: input.id,
    environmentId: input.environmentId,
    phase: 'waiting',
    steps: [
      step('build', !input.building),
      step('before-deploy', !input.beforeDeploy),
      ...(input.canary === null ? [] : [step('canary', false)]),
      step('start', false),
      step('drain', false),
    ],
    canary: input.canary,
    reason: null,
    log: [{ atMs: input.nowMs, message: input.message }],
    cancelRequested: false,
    updatedAtMs: input.nowMs,
    endedAtMs: null,
  };
}

export function stepOf(status: DeploymentStatus, name: DeploymentStep['name']): DeploymentStep | undefined {
  return status.steps.find((step) => step.name === name);
}

export function withLog(status: DeploymentStatus, atMs: number, message: string): DeploymentStatus {
  return { ...status, log: [...status.log, { atMs, message }].slice(-LOG_LINES) };
}

/** The step as running, with its message; logs the message where it is new. Adds a step that is not there yet. */
export function runStep(status: DeploymentStatus, name: DeploymentStep['name'], atMs: number, message: string): DeploymentStatus {
  const current = stepOf(status, name);
  if (current?.state === 'running' && current.message === message) return status;
  const next: DeploymentStep = { name, state: 'running', startedAtMs: current?.startedAtMs ?? atMs, endedAtMs: null, message };
  const steps = current === undefined ? [...status.steps, next] : status.steps.map((step) => (step.name === name ? next : step));
  return withLog({ ...status, steps }, atMs, message);
}

/** Ends a step that was pending or running; others stay as they are. */
export function endStep(
  status: DeploymentStatus,
  name: DeploymentStep['name'],
  state: 'done' | 'failed' | 'skipped',
  atMs: number,
  message?: string,
): DeploymentStatus {
  const steps = status.steps.map((step): DeploymentStep => {
    if (step.name !== name || (step.state !== 'pending' && step.state !== 'running')) return step;
    return {
      ...step,
      state: step.startedAtMs === null && state === 'failed' ? 'skipped' : state,
      endedAtMs: step.startedAtMs === null ? null : atMs,
      message: message ?? step.message,
    };
  });
  return { ...status, steps };
}

/** A final phase: running steps end, pending ones are skipped. */
export function endStatus(
  status: DeploymentStatus,
  phase: Extract<DeploymentPhase, 'succeeded' | 'failed' | 'superseded' | 'canceled'>,
  atMs: number,
  message: string,
  reason: Reason | null = status.reason,
): DeploymentStatus {
  let next = status;
  for (const step of status.steps) {
    const done = phase === 'succeeded' || step.name === 'return';
    next = endStep(next, step.name, step.state === 'pending' ? 'skipped' : done ? 'done' : 'failed', atMs);
  }
  return withLog({ ...next, phase, reason, endedAtMs: atMs }, atMs, message);
}
