// Deadlines of many connections and exchanges with one timer: each holds a number, a sweep finds those that have passed. Accurate to a
// sweep (a second, if nothing else is said), which is enough for limits of many seconds and costs next to nothing per request.

import type { Clock } from '../lib/clock.ts';

export interface DeadlineEntry {
  /** Monotonic time; may be moved at any moment. */
  deadlineMs: number;
  /** Called once; add it again to wait again. */
  onDeadline(): void;
}

export interface Deadlines {
  add(entry: DeadlineEntry): void;
  delete(entry: DeadlineEntry): void;
  /** Monotonic time, up to a second old. */
  now(): number;
  size(): number;
  stop(): void;
}

const SWEEP_MS = 1_000;

export function createDeadlines(clock: Clock, sweepMs: number = SWEEP_MS): Deadlines {
  const waiting = new Set<DeadlineEntry>();
  let stopped = false;
  let cancel: (() => void) | null = null;
  // Read once per sweep: deadlines are moved for every piece of every body.
  let nowMs = clock.monotonic();

  const sweep = (): void => {
    nowMs = clock.monotonic();
    cancel = null;
    for (const entry of waiting) {
      if (entry.deadlineMs > nowMs) continue;
      waiting.delete(entry);
      entry.onDeadline();
    }
    arm();
  };
  const arm = (): void => {
    if (cancel !== null || stopped || waiting.size === 0) return;
    nowMs = clock.monotonic();
    cancel = clock.timer(sweepMs, sweep);
  };

  return {
    add: (entry) => {
      waiting.add(entry);
      if (cancel === null) arm();
    },
    delete: (entry) => {
      waiting.delete(entry);
    },
    now: () => {
      if (cancel === null) nowMs = clock.monotonic();
      return nowMs;
    },
    size: () => waiting.size,
    stop: () => {
      stopped = true;
      cancel?.();
      waiting.clear();
    },
  };
}
