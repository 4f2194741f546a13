// The rollout as a pure function: everything observed in, what is to be written out. It is level-triggered: a Deployment's phase and the
// Instances that are there decide alone, so it may be stopped and started anew at any moment, and a final phase is always reached.

import type { Deployment, DeploymentStatus, Reason } from '../../model/documents.ts';
import { FINAL_DEPLOYMENT_PHASES } from '../../model/documents.ts';
import type { EntrypointSpec } from '../../model/manifest-types.ts';
import { begin, parked, stepCanary, whyWorse } from './rollout-canary.ts';
import { converge, giveUpLost, idleDeployment, newInstance, stopInstances } from './rollout-converge.ts';
import { createDraft, hasEnded } from './rollout-draft.ts';
import type { Draft } from './rollout-draft.ts';
import { beforeDeployReason, deadlineReason, startFailure, unplacedReason } from './rollout-failure.ts';
import type { Unplaced } from '../scheduler/snapshot.ts';
import type { RolloutDeployment, RolloutInput, RolloutInstance, RolloutPlan } from './rollout-input.ts';
import { canceledReason, finish, giveBack, isCanceled, progressMessage } from './rollout-moves.ts';
import { canarySide, isKept, mainSide, statesOf } from './rollout-sides.ts';
import type { Side } from './rollout-sides.ts';
import { isComplete, isWaitingForRoom, liveServices } from './rollout-slots.ts';
import type { EntrypointState } from './rollout-slots.ts';
import { endStatus, endStep, runStep, stepOf } from './rollout-status.ts';
import { steer } from './rollout-steer.ts';

/** Progress is noted at most this often while nothing but time passes, milliseconds. */
const PROGRESS_NOTE_MS = 1000;
const RETURN_MIN_MS = 60_000;
/** A share comes or goes once in a pass; a second time would be a mistake. */
const MAX_TURNS = 3;

/** One pass for one Environment. Planning again right after the commit, on the same observations, plans nothing. */
export function planRollout(input: RolloutInput): RolloutPlan {
  const draft = createDraft(input);
  giveUpLost(draft);
  settleOthers(draft);
  if (input.environment.state === 'deleting' || input.appState === 'deleting') {
    const candidate = draft.deployment(input.environment.candidateDeploymentId);
    if (candidate !== undefined) finish(draft, candidate.status, 'canceled', 'The Environment is being deleted.');
    stopInstances(draft, () => true);
    return draft.plan();
  }
  if (input.environment.stopped) stopInstances(draft, (spec) => spec.role === 'schedule' || spec.role === 'run');
  endStandby(draft);
  const sides = advance(draft);
  // Who has a share decides who may leave, and who has left decides the shares: until both agree.
  steer(draft);
  for (let turn = 0; turn < MAX_TURNS; turn += 1) {
    const idle = idleDeployment(draft);
    converge(draft, sides);
    steer(draft);
    if (idleDeployment(draft) === idle) break;
  }
  noteProgress(draft);
  return draft.plan();
}

/** Takes the candidate as many phases on as what is observed allows. Returns what shall run now. */
function advance(draft: Draft): readonly Side[] {
  for (;;) {
    const environment = draft.environment();
    const stable = draft.deployment(environment.stableDeploymentId)?.deployment ?? null;
    if (environment.candidateDeploymentId === null) return [mainSide(draft, stable)];
    const candidate = draft.deployment(environment.candidateDeploymentId);
    if (candidate === undefined || FINAL_DEPLOYMENT_PHASES.has(candidate.status.phase)) {
      draft.setEnvironment({ candidateDeploymentId: null });
      continue;
    }
    const before = candidate.status.phase;
    stepPhase(draft, candidate, stable);
    const now = draft.deployment(candidate.deployment.id) ?? candidate;
    if (now.status.phase !== before) continue;
    if (before === 'canary' && stable !== null) return [mainSide(draft, stable), canarySide(draft, now, stable)];
    return [mainSide(draft, before === 'rolling' || before === 'draining' ? candidate.deployment : stable)];
  }
}

function stepPhase(draft: Draft, candidate: RolloutDeployment, stable: Deployment | null): void {
  const { phase } = candidate.status;
  switch (phase) {
    case 'waiting':
      return stepWaiting(draft, candidate, stable);
    case 'before-deploy':
      return stepBeforeDeploy(draft, candidate, stable);
    case 'canary':
      return stepCanary(draft, candidate.deployment.id, stable);
    case 'rolling':
      return stepRolling(draft, candidate);
    case 'draining':
      return stepDraining(draft, candidate);
    case 'returning':
      return stepReturning(draft, candidate, stable);
    case 'succeeded':
    case 'failed':
    case 'superseded':
    case 'canceled':
      return;
  }
}

/** Unfinished Deployments that are no longer the candidate: a newer one took over. */
function settleOthers(draft: Draft): void {
  for (const { deployment, status } of draft.deployments()) {
    if (FINAL_DEPLOYMENT_PHASES.has(status.phase) || deployment.id === draft.environment().candidateDeploymentId) continue;
    draft.setStatus(supersededStatus(status, draft.input.nowMs));
  }
}

/** What becomes of an unfinished Deployment when a newer one takes its place: one that serves already has succeeded. */
export function supersededStatus(status: DeploymentStatus, nowMs: number): DeploymentStatus {
  if (status.phase === 'draining') return endStatus(status, 'succeeded', nowMs, 'It serves; a newer Deployment goes on from here.');
  if (status.phase === 'returning') {
    return endStatus(status, status.reason?.code === 'canceled' ? 'canceled' : 'failed', nowMs, 'A newer Deployment goes on from here.');
  }
  const message = 'A newer Deployment of this Environment took over.';
  const reason: Reason = { code: 'superseded', message, hint: null, lastLines: [], instanceId: null };
  return endStatus(status, 'superseded', nowMs, message, reason);
}

function stepWaiting(draft: Draft, candidate: RolloutDeployment, stable: Deployment | null): void {
  const { deployment, status, release } = candidate;
  const { nowMs } = draft.input;
  if (isCanceled(draft, status)) return finish(draft, status, 'canceled', 'Canceled before anything was started.', canceledReason(draft));
  switch (release.state) {
    case 'building':
      if (stepOf(status, 'build')?.state !== 'running')
        draft.setStatus(runStep(status, 'build', nowMs, `Release ${release.number} is being built`));
      return;
    case 'failed':
      return finish(
        draft,
        endStep(status, 'build', 'failed', nowMs),
        'failed',
        `Release ${release.number} could not be built.`,
        release.reason,
      );
    case 'ready': {
      const built = endStep(status, 'build', stepOf(status, 'build')?.startedAtMs === null ? 'skipped' : 'done', nowMs);
      const programs = deployment.runBeforeDeploy ? beforeDeployOf(deployment) : [];
      if (programs.length === 0) return begin(draft, candidate, built, stable);
      const message = `running ${programs.map((spec) => spec.name).join(', ')}`;
      draft.setStatus({ ...runStep(built, 'before-deploy', nowMs, message), phase: 'before-deploy', progress: {} });
    }
  }
}

function beforeDeployOf(deployment: Deployment): readonly EntrypointSpec[] {
  return Object.values(deployment.entrypoints).filter((spec) => spec.run === 'before-deploy');
}

/** One program after the other, each once, whatever happens: what it did cannot be undone. */
function stepBeforeDeploy(draft: Draft, candidate: RolloutDeployment, stable: Deployment | null): void {
  const { deployment, status } = candidate;
  const { nowMs } = draft.input;
  const all = draft.instances().filter(({ spec }) => spec.role === 'before-deploy');
  if (isCanceled(draft, status)) return giveBack(draft, status, canceledReason(draft));
  for (const spec of beforeDeployOf(deployment)) {
    const instance = all.find((one) => one.spec.deploymentId === deployment.id && one.spec.entrypoint === spec.name);
    if (instance === undefined) {
      // An earlier Deployment's program, a migration say, is never broken off and never met by a second one.
      if (all.some((one) => !hasEnded(one)))
        return draft.setStatus(runStep(status, 'before-deploy', nowMs, "an earlier Deployment's program has yet to end"));
      return startBeforeDeploy(draft, deployment, status, spec);
    }
    if (!hasEnded(instance)) {
      draft.setStatus(runStep(status, 'before-deploy', nowMs, `${spec.name} runs`));
      return;
    }
    if (instance.status?.phase !== 'succeeded') return giveBack(draft, status, beforeDeployReason(instance));
  }
  begin(draft, candidate, endStep(status, 'before-deploy', 'done', nowMs, 'done'), stable);
}

function startBeforeDeploy(draft: Draft, deployment: Deployment, status: DeploymentStatus, spec: EntrypointSpec): void {
  const { nowMs } = draft.input;
  const plan = draft.input.place([{ key: spec.name, deployment, entrypoint: spec, stickyNodeId: null }]);
  const place = plan.placed.get(spec.name);
  if (place !== undefined) {
    if (!draft.create(newInstance(draft, deployment, spec.name, 'before-deploy', 0, place))) return;
    return draft.setStatus(runStep(status, 'before-deploy', nowMs, `${spec.name} runs`));
  }
  const reason = unplacedReason(spec.name, plan.unplaced[0] ?? null);
  const since = status.progress?.[spec.name]?.sinceMs;
  if (since !== undefined && draft.input.elapsedMs(since) >= spec.rollout.deadlineMs) {
    return giveBack(draft, status, reason);
  }
  draft.wakeIn(spec.rollout.deadlineMs - (since === undefined ? 0 : draft.input.elapsedMs(since)));
  const waiting = runStep(status, 'before-deploy', nowMs, reason.message);
  if (since === undefined) draft.setStatus({ ...waiting, progress: { ...status.progress, [spec.name]: { best: 0, sinceMs: nowMs } } });
  else draft.setStatus(waiting);
}

function stepRolling(draft: Draft, { deployment, status }: RolloutDeployment): void {
  const { nowMs, elapsedMs } = draft.input;
  if (isCanceled(draft, status)) return giveBack(draft, status, canceledReason(draft));
  const failure = startFailure(draft, deployment);
  if (failure !== null) return giveBack(draft, status, failure);
  const worse = whyWorseNow(draft, deployment);
  if (worse !== null) return giveBack(draft, status, worse);
  const states = statesOf(draft, mainSide(draft, deployment));
  if (states.every(isComplete)) {
    const { stableDeploymentId: before, split } = draft.environment();
    const tried = split?.deploymentId === deployment.id;
    draft.setEnvironment({
      stableDeploymentId: deployment.id,
      ...(tried ? { split: before === null || before === deployment.id ? null : parked(before) } : {}),
    });
    const started = endStep(runStep(status, 'start', nowMs, progressMessage(states)), 'start', 'done', nowMs);
    const old = othersAlive(draft, deployment).length;
    draft.setStatus({ ...runStep(started, 'drain', nowMs, leftMessage(old)), phase: 'draining' });
    return;
  }
  for (const state of states) {
    const known = status.progress?.[state.spec.name];
    if (known === undefined || isComplete(state) || isWaitingForRoom(state)) continue;
    if (elapsedMs(known.sinceMs) < state.spec.rollout.deadlineMs) continue;
    return giveBack(draft, status, deadlineReason(draft, state, whyUnplaced(draft, deployment, state)));
  }
}

/** A promoted canary is still compared while both versions get requests. Only failures count: every new program is slow at first. */
function whyWorseNow(draft: Draft, candidate: Deployment): Reason | null {
  const { split, stableDeploymentId } = draft.environment();
  const stable = draft.deployment(stableDeploymentId)?.deployment;
  if (split?.deploymentId !== candidate.id || split.percent >= 100 || stable === undefined) return null;
  return whyWorse(draft, stable, candidate, false);
}

/** Why the first empty slot finds no Node; null where it would. */
function whyUnplaced(draft: Draft, deployment: Deployment, state: EntrypointState): Unplaced | null {
  if (!state.slots.some((slot) => slot.keeper === null && !slot.available)) return null;
  const plan = draft.input.place([{ key: state.spec.name, deployment, entrypoint: state.spec, stickyNodeId: null }]);
  return plan.unplaced[0] ?? null;
}

function stepDraining(draft: Draft, { deployment, status }: RolloutDeployment): void {
  const left = othersAlive(draft, deployment).length;
  if (left > 0) return draft.setStatus(runStep(status, 'drain', draft.input.nowMs, leftMessage(left)));
  finish(draft, endStep(status, 'drain', 'done', draft.input.nowMs, 'no old Instance is left'), 'succeeded', 'Succeeded.');
}

/** Service Instances of other Deployments that have not ended and are not kept at hand. */
function othersAlive(draft: Draft, deployment: Deployment): readonly RolloutInstance[] {
  return liveServices(draft).filter(({ spec }) => spec.deploymentId !== deployment.id && !isKept(draft, spec));
}

function leftMessage(left: number): string {
  return left === 0 ? 'no old Instance is left' : `${left} old ${left === 1 ? 'Instance finishes its' : 'Instances finish their'} requests`;
}

function stepReturning(draft: Draft, { deployment, status }: RolloutDeployment, stable: Deployment | null): void {
  const { elapsedMs, nowMs } = draft.input;
  const phase = status.reason?.code === 'canceled' ? 'canceled' : 'failed';
  stopInstances(draft, (spec) => spec.role === 'before-deploy' && spec.deploymentId === deployment.id);
  const own = draft
    .instances()
    .filter((one) => one.spec.deploymentId === deployment.id && one.spec.role !== 'schedule' && one.spec.role !== 'run' && !hasEnded(one));
  const states = statesOf(draft, mainSide(draft, stable));
  const missing = states.filter((state) => state.slots.some((slot) => !slot.available && !slot.over));
  if (own.length === 0 && missing.length === 0) {
    const left = stable === null ? 'nothing of it is left' : 'the earlier Deployment serves in full';
    return finish(draft, endStep(status, 'return', 'done', nowMs, left), phase, `Taken back; ${left}.`);
  }
  const limitMs = Math.max(RETURN_MIN_MS, ...states.map((state) => state.spec.rollout.deadlineMs));
  const restMs = limitMs - elapsedMs(stepOf(status, 'return')?.startedAtMs ?? nowMs);
  if (restMs > 0) {
    draft.wakeIn(restMs);
    const parts = [own.length > 0 ? `${own.length} of its Instances left` : '', missing.length > 0 ? progressMessage(states) : ''];
    return draft.setStatus(runStep(status, 'return', nowMs, parts.filter((part) => part !== '').join('; ')));
  }
  finish(draft, status, phase, 'Taken back as far as it goes; what is left is brought in order as soon as that is possible.');
}

/** The time of what is kept at hand is over, or nothing shall run at all. */
function endStandby(draft: Draft): void {
  const { standby, stopped } = draft.environment();
  if (standby === undefined || standby === null) return;
  const restMs = stopped ? 0 : standby.keepMs - draft.input.elapsedMs(standby.sinceMs);
  if (restMs > 0) draft.wakeIn(restMs);
  else draft.setEnvironment({ standby: null });
}

/** What was reached while Instances come up: the line for people, with what waits for a Node, and the marks that deadlines count from. */
function noteProgress(draft: Draft): void {
  const { candidateDeploymentId, stableDeploymentId } = draft.environment();
  const candidate = draft.deployment(candidateDeploymentId);
  const stable = draft.deployment(stableDeploymentId)?.deployment;
  if (candidate === undefined) return;
  const { status, deployment } = candidate;
  if (status.phase === 'rolling') return noteStates(draft, status, statesOf(draft, mainSide(draft, deployment)));
  if (status.phase === 'canary' && stable !== undefined) noteCanary(draft, status, statesOf(draft, canarySide(draft, candidate, stable)));
}

function noteStates(draft: Draft, status: DeploymentStatus, states: readonly EntrypointState[]): void {
  const { nowMs, elapsedMs } = draft.input;
  const waiting = [...draft.plan().unplaced].slice(0, 3).map(([slot, { message }]) => `; ${slot} waits: ${message}`);
  const next = runStep(status, 'start', nowMs, `${progressMessage(states)}${waiting.join('')}`);
  const progress = { ...next.progress };
  let noted = false;
  for (const state of states) {
    const { name, rollout } = state.spec;
    const best = state.slots.filter((slot) => slot.available).length;
    const known = progress[name];
    const waits = isWaitingForRoom(state);
    if (known === undefined || best > known.best || (waits && elapsedMs(known.sinceMs) >= PROGRESS_NOTE_MS)) {
      progress[name] = { best: Math.max(best, known?.best ?? 0), sinceMs: nowMs };
      noted = true;
    }
    if (isComplete(state)) continue;
    const restMs = rollout.deadlineMs - elapsedMs(progress[name]?.sinceMs ?? nowMs);
    draft.wakeIn(waits ? Math.min(restMs, rollout.deadlineMs / 4) : restMs);
  }
  draft.setStatus(noted ? { ...next, progress } : next);
}

/** A deadline runs only while an Instance is missing: one that waits in good health has none. */
function noteCanary(draft: Draft, status: DeploymentStatus, states: readonly EntrypointState[]): void {
  const { nowMs, elapsedMs } = draft.input;
  const progress: Record<string, { readonly best: number; readonly sinceMs: number }> = {};
  for (const state of states) {
    if (isComplete(state)) continue;
    const best = state.slots.filter((slot) => slot.available).length;
    const known = status.progress?.[state.spec.name];
    const mark = known === undefined || best > known.best ? { best, sinceMs: nowMs } : known;
    progress[state.spec.name] = mark;
    draft.wakeIn(state.spec.rollout.deadlineMs - elapsedMs(mark.sinceMs));
  }
  const before = status.progress ?? {};
  const names = Object.keys(progress);
  const same = names.length === Object.keys(before).length && names.every((name) => progress[name] === before[name]);
  if (!same) draft.setStatus({ ...status, progress });
}
