// The life of one Instance on its Node as a pure function: state and event in, state and effects out. It keeps two promises whatever
// the order of events: never two attempts alive at once, and never a one-off run again after an end that nobody saw.

import type { DesiredInstance } from '../api/agent.ts';
import type { DriverHandle } from '../driver/contract.ts';
import type { BuildOutput, Reason } from '../model/documents.ts';
import { afterClose, afterServiceEnd, begin, brokenOff, close, finish, giveUpUnclear, mustStop, only, retry } from './ends.ts';
import { factsOf, isCrashLoop } from './instance-state.ts';
import type { Effect, End, InstanceState, Step } from './instance-state.ts';

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
  | { readonly kind: 'packed'; readonly output: BuildOutput }
  | { readonly kind: 'not-packed'; readonly reason: Reason };

/** Something changed about what it shall be: bring what it is in line. */
function adjust(state: InstanceState): Step {
  switch (state.activity) {
    case 'idle':
      return begin(state);
    case 'preparing':
      return mustStop(state) ? only(state, { kind: 'cancel-work' }) : only(state);
    case 'up':
      return mustStop(state) ? close(state, { why: 'asked' }, true) : only(state);
    case 'waiting':
      if (!mustStop(state)) return only(state);
      return prepend({ kind: 'cancel-wait' }, state.relaunch ? giveUpUnclear(state) : begin({ ...state, activity: 'idle' }));
    case 'packing':
      return state.desired === 'stop' ? prepend({ kind: 'cancel-work' }, finish(state, 'failed', brokenOff(state))) : only(state);
    case 'launching': /* the driver answers soon */
    case 'closing':
    case 'done':
      return only(state);
  }
}

const prepend = (effect: Effect, step: Step): Step => ({ state: step.state, effects: [effect, ...step.effects] });

function desired(state: InstanceState, spec: DesiredInstance): Step {
  if (spec.generation < state.generation) return only(state); // invariant 2
  const newer = spec.generation > state.generation;
  const first = !state.informed;
  // What a driver has begun, no other can end: an Instance keeps the one that it came with.
  const next: InstanceState = { ...state, ...factsOf(spec), driver: state.driver, informed: true };
  if (first && next.activity === 'launching') {
    // An earlier agent died while starting it. The driver knows by the key whether it had begun.
    return mustStop(next) ? giveUpUnclear(next) : only(next, { kind: 'launch' });
  }
  if (first && next.activity === 'packing' && !mustStop(next)) return only(next, { kind: 'pack' });
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
      if (state.activity === 'launching' && !state.informed) return giveUpUnclear({ ...state, desired: 'stop' });
      return adjust({ ...state, desired: 'stop' });
    case 'cut-off':
      return adjust({ ...state, cutOff: event.value });
    case 'shutdown':
      return adjust({ ...state, shutdown: true });
    case 'prepared':
      if (state.activity !== 'preparing') return only(state);
      if (mustStop(state)) return begin({ ...state, activity: 'idle' });
      // Nothing to run before: the result is made of the folder as it is.
      if (state.packResult && state.commands === 0) return only({ ...state, activity: 'packing', reason: null }, { kind: 'pack' });
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
      if (state.activity !== 'launching') return only(state);
      return mustStop(state) ? giveUpUnclear(state) : retry(state, event.reason, true);
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
