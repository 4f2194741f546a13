// Deadlines of many exchanges with one timer: each sets a number, a sweep finds those that have passed. Accurate to a second, which is
// enough for limits of many seconds and costs nothing per request.

import type { Clock } from '../lib/clock.ts';

export interface Deadline {
  /** Calls `onPass` once if not set again or cleared within `ms`. */
  set(ms: number, onPass: () => void): void;
  /** Starts the same wait over. */
  touch(): void;
  clear(): void;
}

export interface Deadlines {
  create(): Deadline;
  size(): number;
  stop(): void;
}

const SWEEP_MS = 1_000;

interface Waiting {
  atMs: number;
  lengthMs: number;
  onPass: () => void;
}

export function createDeadlines(clock: Clock): Deadlines {
  const waiting = new Set<Waiting>();
  let stopped = false;
  let cancel: (() => void) | null = null;
  // Read once per sweep: touch() is called for every piece of every body.
  let nowMs = clock.monotonic();

  const sweep = (): void => {
    nowMs = clock.monotonic();
    for (const entry of waiting) {
      if (entry.atMs > nowMs) continue;
      waiting.delete(entry);
      entry.onPass();
    }
    cancel = null;
    arm();
  };
  const arm = (): void => {
    if (cancel !== null || stopped || waiting.size === 0) return;
    nowMs = clock.monotonic();
    cancel = clock.timer(SWEEP_MS, sweep);
  };

  return {
    create: () => {
      const entry: Waiting = { atMs: 0, lengthMs: 0, onPass: () => undefined };
      return {
        set: (ms, onPass) => {
          entry.lengthMs = ms;
          entry.onPass = onPass;
          waiting.add(entry);
          arm();
          entry.atMs = nowMs + ms;
        },
        touch: () => {
          entry.atMs = nowMs + entry.lengthMs;
        },
        clear: () => {
          waiting.delete(entry);
        },
      };
    },
    size: () => waiting.size,
    stop: () => {
      stopped = true;
      cancel?.();
      waiting.clear();
    },
  };
}
