// The life of one Instance on its Node as a pure function: state and event in, state and effects out. It keeps two promises whatever
// the order of events: never two attempts alive at once, and never a one-off run again after an end that nobody saw.

import type { DriverHandle } from '../driver/contract.ts';
import { backoffMs } from '../lib/backoff.ts';
import type { DesiredInstance } from '../api/agent.ts';
import type { InstancePhase, InstanceStatus, Reason } from '../model/documents.ts';

/** An end sooner than this after its start counts towards a crash loop, milliseconds. */
export const STABLE_AFTER_MS = 60_000;
const RESTART_BACKOFF = { minMs: 1000, maxMs: 60_000 };
const CRASH_LOOP_ENDS = 3;

/**
 * idle: nothing of it exists. preparing: its folder is being made. launching: the driver may or may not have started the attempt.
 * up: a program runs. closing: the attempt is being ended, or its remains are being swept. waiting: for a back-off to pass.
 * packing: a build's result is being uploaded. done: never again.
 */
export type Activity = 'idle' | 'preparing' | 'launching' | 'up' | 'closing' | 'waiting' | 'packing' | 'done';

type FinalPhase = 'stopped' | 'succeeded' | 'failed' | 'unknown';

/** How a program ended; `seen` false where nobody saw it. */
export interface End {
  readonly seen: boolean;
  readonly code: number | null;
  readonly signal: string | null;
  readonly atMs: number;
  /** Monotonic run time of the attempt; null where it began under an earlier agent. */
  readonly ranMs: number | null;
}

/** Why an attempt is being closed: somebody asked, it ended by itself, or the agent ends it for a reason. */
type Closing =
  | { readonly why: 'asked' }
  | { readonly why: 'ended'; readonly end: End; readonly reason: Reason | null }
  | { readonly why: 'broken'; readonly final: boolean; readonly reason: Reason };

/** Everything that is kept on disk about an Instance. Holds no env and no secret. */
export interface InstanceState {
  readonly id: string;
  readonly generation: number;
  readonly desired: 'run' | 'stop';
  readonly driver: string;
  readonly service: boolean;
  /** Number of commands of a one-off. */
  readonly commands: number;
  readonly restart: DesiredInstance['restart'];
  readonly stop: DesiredInstance['stop'];
  readonly packResult: boolean;
  readonly hasAfterStart: boolean;
  /** Without contact to control for this long it must stop; null: never. */
  readonly cutOffAfterMs: number | null;
  /** False until control has said, since the agent started, what it shall be: without its spec nothing can be started. */
  readonly informed: boolean;
  readonly cutOff: boolean;
  readonly shutdown: boolean;
  readonly activity: Activity;
  /** Number of the newest attempt, 0 before the first. Part of the driver's idempotency key. */
  readonly attempt: number;
  readonly handle: DriverHandle | null;
  readonly port: number | null;
  readonly host: string | null;
  readonly pid: number | null;
  readonly startedAtMs: number | null;
  /** starting: not yet healthy in this attempt. hooking: afterStart runs. ready: was healthy. */
  readonly readiness: 'starting' | 'hooking' | 'ready';
  readonly healthy: boolean;
  readonly healthySinceMs: number | null;
  readonly closing: Closing | null;
  /** After the wait in progress, launch the same attempt again instead of preparing a new one: it may have been started. */
  readonly relaunch: boolean;
  /** Tries in a row that failed before a program ran; the back-off of retries. */
  readonly failedTries: number;
  readonly restarts: number;
  readonly quickEnds: number;
  readonly exit: InstanceStatus['exit'];
  readonly reason: Reason | null;
  readonly outcome: FinalPhase | null;
  readonly output: InstanceStatus['output'];
  readonly notEnforced: readonly string[];
}

export type InstanceEvent =
  | { readonly kind: 'desired'; readonly spec: DesiredInstance }
  /** Control no longer knows it. */
  | { readonly kind: 'dropped' }
  | { readonly kind: 'cut-off'; readonly value: boolean }
  | { readonly kind: 'shutdown' }
  | { readonly kind: 'prepared'; readonly port: number | null; readonly host: string | null; readonly notEnforced: readonly string[] }
  /** final: trying again cannot help. */
  | { readonly kind: 'not-prepared'; readonly final: boolean; readonly reason: Reason }
  | {
      readonly kind: 'launched';
      readonly handle: DriverHandle;
      readonly pid: number | null;
      readonly startedAtMs: number;
      readonly notEnforced: readonly string[];
    }
  /** Surely nothing runs. */
  | { readonly kind: 'not-launched'; readonly reason: Reason; readonly atMs: number }
  /** The driver did not say whether it runs. */
  | { readonly kind: 'launch-unclear'; readonly reason: Reason }
  | { readonly kind: 'ended'; readonly attempt: number; readonly end: End; readonly reason: Reason | null }
  | { readonly kind: 'healthy'; readonly attempt: number; readonly atMs: number }
  | { readonly kind: 'unhealthy'; readonly attempt: number; readonly reason: Reason }
  | {
      readonly kind: 'hooked';
      readonly attempt: number;
      readonly atMs: number;
      readonly failure: Reason | null;
      readonly required: boolean;
    }
  /** The agent must end it: deadline, disk quota. */
  | { readonly kind: 'broken'; readonly attempt: number; readonly final: boolean; readonly reason: Reason }
  /** Nothing of the attempt is left. `end`: what the driver saw. */
  | { readonly kind: 'closed'; readonly end: End }
  | { readonly kind: 'close-failed'; readonly reason: Reason }
  | { readonly kind: 'due' }
  | { readonly kind: 'packed'; readonly output: { readonly digest: string; readonly sizeBytes: number } }
  | { readonly kind: 'not-packed'; readonly reason: Reason };

export type Effect =
  | { readonly kind: 'prepare' }
  | { readonly kind: 'cancel-prepare' }
  /** State must be safe on disk before the driver is called. */
  | { readonly kind: 'launch' }
  /** Watch for the end, check health, measure. */
  | { readonly kind: 'watch' }
  | { readonly kind: 'after-start' }
  /** End watching and bring the attempt to its end; `alive`: it was running as far as is known, so stop hooks make sense. */
  | { readonly kind: 'close'; readonly alive: boolean }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'cancel-wait' }
  | { readonly kind: 'pack' }
  /** Delete what an ended Instance no longer needs: work folder, secret files. */
  | { readonly kind: 'clean' };

export interface Step {
  readonly state: InstanceState;
  readonly effects: readonly Effect[];
}

type Facts = Pick<
  InstanceState,
  'generation' | 'desired' | 'driver' | 'service' | 'commands' | 'restart' | 'stop' | 'packResult' | 'hasAfterStart' | 'cutOffAfterMs'
>;

const factsOf = (spec: DesiredInstance): Facts => ({
  generation: spec.generation,
  desired: spec.desired,
  driver: spec.driver,
  service: spec.role === 'service',
  commands: spec.commands.length,
  restart: spec.restart,
  stop: spec.stop,
  packResult: spec.packResult,
  hasAfterStart: spec.hooks.afterStart.length > 0,
  cutOffAfterMs: spec.singleton ? spec.disconnect.stopAfterMs : null,
});

/** The state of an Instance that nobody here has heard of. */
export function newInstanceState(spec: DesiredInstance): InstanceState {
  return {
    id: spec.id,
    ...factsOf(spec),
    informed: false,
    cutOff: false,
    shutdown: false,
    activity: 'idle',
    attempt: 0,
    handle: null,
    port: null,
    host: null,
    pid: null,
    startedAtMs: null,
    readiness: 'starting',
    healthy: false,
    healthySinceMs: null,
    closing: null,
    relaunch: false,
    failedTries: 0,
    restarts: 0,
    quickEnds: 0,
    exit: null,
    reason: null,
    outcome: null,
    output: null,
    notEnforced: [],
  };
}

/** What an agent makes of the state that an earlier one left: nothing that ran inside that agent goes on. */
export function restoredState(state: InstanceState): InstanceState {
  const base: InstanceState = { ...state, informed: false, cutOff: false, shutdown: false };
  switch (state.activity) {
    case 'preparing':
      return { ...base, activity: 'idle' };
    case 'waiting':
      return { ...base, activity: state.relaunch ? 'launching' : 'idle', relaunch: false };
    case 'up':
      // afterStart may have run half: it runs again with the next healthy check.
      return state.readiness === 'hooking' ? { ...base, readiness: 'starting' } : base;
    case 'idle':
    case 'launching':
    case 'closing':
    case 'packing':
    case 'done':
      return base;
  }
}

/** The phase that everybody else sees. */
export function phaseOf(state: InstanceState): InstancePhase {
  switch (state.activity) {
    case 'idle':
      return 'pending';
    case 'preparing':
      return 'preparing';
    case 'launching':
      return 'starting';
    case 'up':
      if (!state.service) return 'running';
      if (state.readiness !== 'ready') return 'starting';
      return state.healthy ? 'running' : 'unhealthy';
    case 'closing':
      if (state.closing?.why !== 'ended') return 'stopping';
      return state.service ? 'backoff' : 'running';
    case 'waiting':
      return state.attempt === 0 || state.relaunch ? 'preparing' : 'backoff';
    case 'packing':
      return 'running';
    case 'done':
      return state.outcome ?? 'failed';
  }
}

export const isCrashLoop = (state: InstanceState): boolean => state.service && state.quickEnds >= CRASH_LOOP_ENDS;

const mustStop = (state: InstanceState): boolean => state.desired === 'stop' || state.cutOff || state.shutdown;

const only = (state: InstanceState, ...effects: readonly Effect[]): Step => ({ state, effects });

function finish(state: InstanceState, outcome: FinalPhase, reason: Reason | null): Step {
  return only(
    { ...state, activity: 'done', outcome, reason, healthy: false, closing: null, relaunch: false, handle: null, pid: null },
    { kind: 'clean' },
  );
}

/** From idle: start if that is wanted, and end for good if not. */
function begin(state: InstanceState): Step {
  if (state.desired === 'stop') return neverRan(state);
  if (!state.informed || mustStop(state)) return only({ ...state, activity: 'idle' });
  return only({ ...state, activity: 'preparing' }, { kind: 'prepare' });
}

/** Stopped while nothing of it runs. A one-off between two of its commands was broken off. */
const neverRan = (state: InstanceState): Step =>
  !state.service && state.attempt > 0 ? finish(state, 'failed', state.reason ?? brokenOff(state)) : finish(state, 'stopped', state.reason);

const brokenOff = (state: InstanceState): Reason => ({
  code: 'canceled',
  message: state.desired === 'stop' ? 'It was stopped on request before it had ended.' : 'The platform was stopped before it had ended.',
  hint: null,
  lastLines: [],
  instanceId: state.id,
});

const unseenEnd = (state: InstanceState): Reason => ({
  code: 'outcome_unknown',
  message: 'It ended while nobody watched, so nobody knows how. It is not run again by itself.',
  hint: 'Look at its logs, then run it again if that is safe.',
  lastLines: [],
  instanceId: state.id,
});

function close(state: InstanceState, closing: Closing, alive: boolean): Step {
  return only(
    {
      ...state,
      activity: 'closing',
      closing,
      healthy: false,
      healthySinceMs: null,
      reason: closing.why === 'asked' ? state.reason : closing.reason,
    },
    { kind: 'close', alive },
  );
}

function retry(state: InstanceState, reason: Reason, relaunch: boolean): Step {
  const next: InstanceState = { ...state, activity: 'waiting', relaunch, reason, failedTries: state.failedTries + 1 };
  return only(next, { kind: 'wait', ms: backoffMs(state.failedTries, RESTART_BACKOFF) });
}

/** A service whose program ended: start again as its policy says. */
function afterServiceEnd(state: InstanceState, end: End | null, reason: Reason | null): Step {
  if (state.desired === 'stop') return finish(state, 'stopped', state.reason);
  if (end !== null && !end.seen) {
    // A machine that restarted, in most cases: no fault of the program.
    if (state.restart === 'never') return finish(state, 'unknown', unseenEnd(state));
    return begin({ ...state, activity: 'idle', restarts: state.restarts + 1, reason });
  }
  const failed = end === null || end.code !== 0;
  if (state.restart === 'never' || (state.restart === 'on-failure' && !failed))
    return finish(state, failed ? 'failed' : 'succeeded', reason);
  const quick = end?.ranMs !== null && (end?.ranMs ?? 0) < STABLE_AFTER_MS;
  const quickEnds = quick ? state.quickEnds + 1 : 0;
  const next: InstanceState = { ...state, restarts: state.restarts + 1, quickEnds, reason };
  if (mustStop(next)) return begin({ ...next, activity: 'idle' });
  return only({ ...next, activity: 'waiting' }, { kind: 'wait', ms: backoffMs(Math.max(0, quickEnds - 1), RESTART_BACKOFF) });
}

function afterOneOffEnd(state: InstanceState, end: End, reason: Reason | null): Step {
  if (!end.seen) return finish(state, 'unknown', unseenEnd(state));
  if (end.code !== 0) return finish(state, 'failed', reason);
  if (state.attempt < state.commands) return begin({ ...state, activity: 'idle', reason: null });
  if (!state.packResult) return finish(state, 'succeeded', null);
  return only({ ...state, activity: 'packing', reason: null }, ...(state.informed ? [{ kind: 'pack' } as const] : []));
}

function afterClose(state: InstanceState, last: End): Step {
  const closing: Closing = state.closing ?? { why: 'asked' };
  const end = closing.why === 'ended' ? closing.end : last;
  const exit = end.seen ? { code: end.code, signal: end.signal, atMs: end.atMs } : state.exit;
  const next: InstanceState = { ...state, closing: null, handle: null, pid: null, exit, readiness: 'starting', healthySinceMs: null };
  switch (closing.why) {
    case 'asked':
      if (!next.service) return finish(next, 'failed', brokenOff(next));
      return next.desired === 'stop' ? finish(next, 'stopped', next.reason) : begin({ ...next, activity: 'idle' });
    case 'broken':
      if (closing.final || !next.service) return finish(next, 'failed', closing.reason);
      return afterServiceEnd(next, { ...end, seen: true, code: end.code === 0 ? 1 : end.code }, closing.reason);
    case 'ended':
      return next.service ? afterServiceEnd(next, end, closing.reason) : afterOneOffEnd(next, end, closing.reason);
  }
}

/** Something changed about what it shall be: bring what it is in line. */
function adjust(state: InstanceState): Step {
  switch (state.activity) {
    case 'idle':
      return begin(state);
    case 'preparing':
      return mustStop(state) ? only(state, { kind: 'cancel-prepare' }) : only(state);
    case 'up':
      return mustStop(state) ? close(state, { why: 'asked' }, true) : only(state);
    case 'waiting':
      if (!mustStop(state)) return only(state);
      return state.relaunch
        ? only({ ...state, activity: 'launching', relaunch: false }, { kind: 'cancel-wait' }, { kind: 'launch' })
        : prepend({ kind: 'cancel-wait' }, begin({ ...state, activity: 'idle' }));
    case 'launching': /* answers soon */
    case 'closing':
    case 'packing':
    case 'done':
      return only(state);
  }
}

const prepend = (effect: Effect, step: Step): Step => ({ state: step.state, effects: [effect, ...step.effects] });

function desired(state: InstanceState, spec: DesiredInstance): Step {
  if (spec.generation < state.generation) return only(state); // invariant 2
  const newer = spec.generation > state.generation;
  const first = !state.informed;
  const next: InstanceState = { ...state, ...factsOf(spec), informed: true };
  if (first && next.activity === 'launching') {
    // An earlier agent died while starting it. The driver knows by the key whether it had begun.
    if (!mustStop(next)) return only(next, { kind: 'launch' });
    return next.service ? finish(next, 'stopped', null) : finish(next, 'unknown', unseenEnd(next));
  }
  if (first && next.activity === 'packing') return only(next, { kind: 'pack' });
  if (first && next.activity === 'up' && !mustStop(next)) return only(next, { kind: 'watch' });
  if (newer && next.service && next.activity === 'done' && next.outcome === 'stopped' && next.desired === 'run') {
    return begin({ ...next, activity: 'idle', outcome: null, reason: null, quickEnds: 0, failedTries: 0 });
  }
  return adjust(next);
}

/** One transition. Pure: waits, clocks and programs are the caller's. Events of earlier attempts change nothing. */
export function step(state: InstanceState, event: InstanceEvent): Step {
  switch (event.kind) {
    case 'desired':
      return desired(state, event.spec);
    case 'dropped':
      if (state.activity === 'launching' && !state.informed) return finish({ ...state, desired: 'stop' }, 'stopped', null);
      if (state.activity === 'packing' && !state.informed) return finish({ ...state, desired: 'stop' }, 'failed', brokenOff(state));
      return adjust({ ...state, desired: 'stop' });
    case 'cut-off':
      return adjust({ ...state, cutOff: event.value });
    case 'shutdown':
      return adjust({ ...state, shutdown: true });
    case 'prepared':
      if (state.activity !== 'preparing') return only(state);
      if (mustStop(state)) return begin({ ...state, activity: 'idle' });
      return only(
        {
          ...state,
          activity: 'launching',
          attempt: state.attempt + 1,
          port: event.port,
          host: event.host,
          readiness: 'starting',
          healthy: false,
          exit: state.service ? state.exit : null,
          startedAtMs: null,
          notEnforced: event.notEnforced,
        },
        { kind: 'launch' },
      );
    case 'not-prepared':
      if (state.activity !== 'preparing') return only(state);
      if (mustStop(state)) return begin({ ...state, activity: 'idle' });
      return event.final ? finish(state, 'failed', event.reason) : retry(state, event.reason, false);
    case 'launched': {
      if (state.activity !== 'launching') return only(state);
      const next: InstanceState = {
        ...state,
        activity: 'up',
        handle: event.handle,
        pid: event.pid,
        startedAtMs: event.startedAtMs,
        failedTries: 0,
        reason: isCrashLoop(state) ? state.reason : null,
        notEnforced: [...new Set([...state.notEnforced, ...event.notEnforced])],
      };
      return mustStop(next) ? close(next, { why: 'asked' }, true) : only(next, { kind: 'watch' });
    }
    case 'not-launched': {
      if (state.activity !== 'launching') return only(state);
      if (!state.service) return finish(state, 'failed', event.reason);
      return afterServiceEnd(
        { ...state, failedTries: 0 },
        { seen: true, code: null, signal: null, atMs: event.atMs, ranMs: 0 },
        event.reason,
      );
    }
    case 'launch-unclear':
      return state.activity === 'launching' ? retry(state, event.reason, true) : only(state);
    case 'ended':
      if (state.activity !== 'up' || event.attempt !== state.attempt) return only(state);
      return close(state, { why: 'ended', end: event.end, reason: event.reason }, false);
    case 'healthy':
      if (state.activity !== 'up' || event.attempt !== state.attempt || state.readiness === 'hooking') return only(state);
      if (state.readiness === 'starting' && state.hasAfterStart) return only({ ...state, readiness: 'hooking' }, { kind: 'after-start' });
      return only({ ...state, readiness: 'ready', healthy: true, healthySinceMs: event.atMs, reason: null });
    case 'unhealthy':
      if (state.activity !== 'up' || event.attempt !== state.attempt) return only(state);
      return only({ ...state, healthy: false, healthySinceMs: null, reason: event.reason });
    case 'hooked':
      if (state.activity !== 'up' || event.attempt !== state.attempt || state.readiness !== 'hooking') return only(state);
      if (event.failure !== null && event.required) return close(state, { why: 'broken', final: false, reason: event.failure }, true);
      return only({ ...state, readiness: 'ready', healthy: true, healthySinceMs: event.atMs, reason: event.failure });
    case 'broken':
      if (state.activity !== 'up' || event.attempt !== state.attempt) return only(state);
      return close(state, { why: 'broken', final: event.final, reason: event.reason }, true);
    case 'closed':
      return state.activity === 'closing' ? afterClose(state, event.end) : only(state);
    case 'close-failed':
      // Until nothing of it is left there is no next attempt: the effect goes on trying, people see why.
      return state.activity === 'closing' ? only({ ...state, reason: event.reason }) : only(state);
    case 'due':
      if (state.activity !== 'waiting') return only(state);
      if (!state.relaunch) return begin({ ...state, activity: 'idle' });
      return only({ ...state, activity: 'launching', relaunch: false }, { kind: 'launch' });
    case 'packed':
      return state.activity === 'packing' ? finish({ ...state, output: event.output }, 'succeeded', null) : only(state);
    case 'not-packed':
      if (state.activity !== 'packing') return only(state);
      return finish(state, 'failed', event.reason);
  }
}
