// Deadlines of many connections and exchanges with one timer: each holds a number, a sweep finds those that have passed. Accurate to a
// sweep (a second, if nothing else is said), which is enough for limits of many seconds and costs next to nothing per request.

import type { Clock } from '../lib/clock.ts';

export interface DeadlineEntry {
  /** Monotonic time; may be moved at any moment. */
  deadlineMs: number;
  /** Its place while it waits, else −1; nobody else's to touch. */
  deadlineSlot: number;
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
  // A list in which everyone knows its own place, and no Set: one that requests come into and leave is laid out anew all the time, and each
  // former layout keeps what was in it until the next full collection.
  const waiting: DeadlineEntry[] = [];
  let stopped = false;
  let cancel: (() => void) | null = null;
  // Read once per sweep: deadlines are moved for every piece of every body.
  let nowMs = clock.monotonic();

  const remove = (entry: DeadlineEntry): void => {
    const slot = entry.deadlineSlot;
    const last = waiting[waiting.length - 1];
    if (slot === -1 || last === undefined) return;
    waiting[slot] = last;
    last.deadlineSlot = slot;
    waiting.pop();
    entry.deadlineSlot = -1;
  };
  const sweep = (): void => {
    nowMs = clock.monotonic();
    cancel = null;
    // From the end: whoever leaves meanwhile gives its place to the last one, which has been seen, or is seen once more.
    for (let slot = waiting.length - 1; slot >= 0; slot = Math.min(slot, waiting.length) - 1) {
      const entry = waiting[slot];
      if (entry === undefined || entry.deadlineMs > nowMs) continue;
      remove(entry);
      entry.onDeadline();
    }
    arm();
  };
  const arm = (): void => {
    if (cancel !== null || stopped || waiting.length === 0) return;
    nowMs = clock.monotonic();
    cancel = clock.timer(sweepMs, sweep);
  };

  return {
    add: (entry) => {
      if (entry.deadlineSlot === -1) entry.deadlineSlot = waiting.push(entry) - 1;
      if (cancel === null) arm();
    },
    delete: remove,
    now: () => {
      if (cancel === null) nowMs = clock.monotonic();
      return nowMs;
    },
    size: () => waiting.length,
    stop: () => {
      stopped = true;
      cancel?.();
      for (const entry of waiting.splice(0)) entry.deadlineSlot = -1;
    },
  };
}
