// When each lease ends, in monotonic time, so that a jump of the wall clock neither kills nor immortalises a lease. One timer for all.

import type { Clock } from '../lib/clock.ts';
import type { StoredLease } from './storage.ts';

/** After a reopening the holder gets at least this long to say that it is still there, milliseconds. */
const REOPEN_GRACE_MS = 10_000;
const RETRY_MS = 1000;

export interface LeaseTimes {
  /** Starts or restarts the time. */
  start(id: string, ttlMs: number): void;
  /** Goes on with a lease of an earlier process: what the wall clock says is left, but never more than its time and never less than a grace. */
  resume(lease: StoredLease): void;
  /** Tries the expiry again soon. */
  retry(id: string): void;
  alive(id: string): boolean;
  /** Milliseconds; undefined where it has ended or is not known. */
  leftMs(id: string): number | undefined;
  forget(id: string): void;
  count(): number;
  stop(): void;
}

/** `onExpired` gets every lease once when its time has come. */
export function createLeaseTimes(options: { readonly clock: Clock; readonly onExpired: (ids: readonly string[]) => void }): LeaseTimes {
  const { clock } = options;
  /** Monotonic; Infinity: the time has come, the store has not yet deleted its keys. */
  const deadlines = new Map<string, number>();
  let timerAt = Infinity;
  let cancelTimer: (() => void) | null = null;
  let stopped = false;

  const arm = (deadline: number): void => {
    if (stopped || deadline >= timerAt) return;
    cancelTimer?.();
    timerAt = deadline;
    cancelTimer = clock.timer(Math.max(0, Math.ceil(deadline - clock.monotonic())), fire);
  };

  function fire(): void {
    timerAt = Infinity;
    cancelTimer = null;
    const now = clock.monotonic();
    const expired: string[] = [];
    let next = Infinity;
    for (const [id, deadline] of deadlines) {
      if (deadline <= now) {
        expired.push(id);
        deadlines.set(id, Infinity);
      } else next = Math.min(next, deadline);
    }
    if (next !== Infinity) arm(next);
    if (expired.length > 0) options.onExpired(expired);
  }

  const set = (id: string, remainingMs: number): void => {
    const deadline = clock.monotonic() + remainingMs;
    deadlines.set(id, deadline);
    arm(deadline);
  };

  return {
    start: set,
    resume: ({ id, ttlMs, expiresAtMs }) => {
      const grace = Math.min(ttlMs, REOPEN_GRACE_MS);
      set(id, Math.max(grace, Math.min(ttlMs, expiresAtMs - clock.now())));
    },
    retry: (id) => {
      set(id, RETRY_MS);
    },
    alive: (id) => (deadlines.get(id) ?? Infinity) !== Infinity,
    leftMs: (id) => {
      const deadline = deadlines.get(id) ?? Infinity;
      return deadline === Infinity ? undefined : Math.max(0, deadline - clock.monotonic());
    },
    forget: (id) => {
      deadlines.delete(id);
    },
    count: () => deadlines.size,
    stop: () => {
      stopped = true;
      cancelTimer?.();
    },
  };
}
