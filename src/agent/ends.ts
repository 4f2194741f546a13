// How attempts begin and end, as pure transitions: what is tried again, what is final, and what is told about it.

import { backoffMs } from '../lib/backoff.ts';
import type { Reason } from '../model/documents.ts';
import type { Closing, Effect, End, FinalPhase, InstanceState, Step } from './instance-state.ts';

/** An end sooner than this after its start counts towards a crash loop, milliseconds. */
const STABLE_AFTER_MS = 60_000;
const RESTART_BACKOFF = { minMs: 1000, maxMs: 60_000 };

/** It shall not run now, for good or for a while. */
export const mustStop = (state: InstanceState): boolean => state.desired === 'stop' || state.cutOff || state.shutdown;

export const only = (state: InstanceState, ...effects: readonly Effect[]): Step => ({ state, effects });

export function finish(state: InstanceState, outcome: FinalPhase, reason: Reason | null): Step {
  return only(
    { ...state, activity: 'done', outcome, reason, healthy: false, closing: null, relaunch: false, handle: null, pid: null },
    { kind: 'clean' },
  );
}

/** It must stop while nobody knows whether the attempt was started: whatever runs under its key is ended, and it is never run again. */
export function giveUpUnclear(state: InstanceState): Step {
  const next: InstanceState = { ...state, relaunch: false };
  const then = next.service ? begin({ ...next, activity: 'idle' }) : finish(next, 'unknown', unseenEnd(next));
  return { state: then.state, effects: [{ kind: 'sweep' }, ...then.effects] };
}

/** From idle: start if that is wanted, and end for good if not. */
export function begin(state: InstanceState): Step {
  if (state.desired === 'stop') return neverRan(state);
  if (!state.informed || mustStop(state)) return only({ ...state, activity: 'idle' });
  return only({ ...state, activity: 'preparing' }, { kind: 'prepare' });
}

/** Stopped while nothing of it runs. A one-off between two of its commands was broken off. */
const neverRan = (state: InstanceState): Step =>
  !state.service && state.attempt > 0 ? finish(state, 'failed', state.reason ?? brokenOff(state)) : finish(state, 'stopped', state.reason);

export const brokenOff = (state: InstanceState): Reason => ({
  code: 'canceled',
  message: state.desired === 'stop' ? 'It was stopped on request before it had ended.' : 'The platform was stopped before it had ended.',
  hint: null,
  lastLines: [],
  instanceId: state.id,
});

export const unseenEnd = (state: InstanceState): Reason => ({
  code: 'outcome_unknown',
  message: 'It ended while nobody watched, so nobody knows how. It is not run again by itself.',
  hint: 'Look at its logs, then run it again if that is safe.',
  lastLines: [],
  instanceId: state.id,
});

const exitOf = (end: End, state: InstanceState): InstanceState['exit'] =>
  end.seen ? { code: end.code, signal: end.signal, atMs: end.atMs } : state.exit;

export function close(state: InstanceState, closing: Closing, alive: boolean): Step {
  return only(
    {
      ...state,
      activity: 'closing',
      closing,
      healthy: false,
      healthySinceMs: null,
      reason: closing.why === 'asked' ? state.reason : closing.reason,
      exit: closing.why === 'ended' ? exitOf(closing.end, state) : state.exit,
    },
    { kind: 'close', alive },
  );
}

export function retry(state: InstanceState, reason: Reason, relaunch: boolean): Step {
  const next: InstanceState = { ...state, activity: 'waiting', relaunch, reason, failedTries: state.failedTries + 1 };
  return only(next, { kind: 'wait', ms: backoffMs(state.failedTries, RESTART_BACKOFF) });
}

/** A service whose program ended: start again as its policy says. */
export function afterServiceEnd(state: InstanceState, end: End, reason: Reason | null): Step {
  if (state.desired === 'stop') return finish(state, 'stopped', state.reason);
  // An end that nobody saw is in most cases a machine that restarted: no fault of the program, but no success either.
  const failed = !end.seen || end.code !== 0;
  if (state.restart === 'never')
    return end.seen ? finish(state, failed ? 'failed' : 'succeeded', reason) : finish(state, 'unknown', unseenEnd(state));
  if (state.restart === 'on-failure' && !failed) return finish(state, 'succeeded', reason);
  const quickEnds = end.ranMs === null ? state.quickEnds : end.ranMs < STABLE_AFTER_MS ? state.quickEnds + 1 : 0;
  const next: InstanceState = { ...state, restarts: state.restarts + 1, quickEnds, reason };
  if (mustStop(next)) return begin({ ...next, activity: 'idle' });
  return only(
    { ...next, activity: 'waiting' },
    { kind: 'wait', ms: end.seen || quickEnds > 0 ? backoffMs(Math.max(0, quickEnds - 1), RESTART_BACKOFF) : 0 },
  );
}

function afterOneOffEnd(state: InstanceState, end: End, reason: Reason | null): Step {
  if (!end.seen) return finish(state, 'unknown', unseenEnd(state));
  if (end.code !== 0) return finish(state, 'failed', reason);
  if (state.attempt < state.commands) return begin({ ...state, activity: 'idle', reason: null });
  if (!state.packResult) return finish(state, 'succeeded', null);
  if (state.desired === 'stop') return finish(state, 'failed', brokenOff(state));
  return only({ ...state, activity: 'packing', reason: null }, ...(state.informed ? [{ kind: 'pack' } as const] : []));
}

export function afterClose(state: InstanceState, last: End): Step {
  const closing: Closing = state.closing ?? { why: 'asked' };
  const end = closing.why === 'ended' ? closing.end : last;
  const next: InstanceState = {
    ...state,
    closing: null,
    handle: null,
    pid: null,
    exit: exitOf(end, state),
    readiness: 'starting',
    healthySinceMs: null,
  };
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
