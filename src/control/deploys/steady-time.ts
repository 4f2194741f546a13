// Real time since a recorded moment although the wall clock may jump: the first look at a moment counts by the wall clock, every later one
// by the monotonic clock. Deadlines and drains neither fire nor hang because somebody set the clock.

import type { Clock } from '../../lib/clock.ts';

/** Moments remembered; one that was pushed out counts by the wall clock anew. */
const KEPT = 20_000;

/** Real milliseconds since a moment that was recorded in wall-clock time; at least 0. */
export type ElapsedMs = (sinceMs: number) => number;

export function createSteadyTime(clock: Clock): ElapsedMs {
  /** Recorded wall-clock time → the monotonic time that it stands for. */
  const moments = new Map<number, number>();
  return (sinceMs) => {
    const nowMs = clock.monotonic();
    let moment = moments.get(sinceMs);
    if (moment === undefined) {
      moment = nowMs - Math.max(0, clock.now() - sinceMs);
      const [oldest] = moments.keys();
      if (moments.size >= KEPT && oldest !== undefined) moments.delete(oldest);
      moments.set(sinceMs, moment);
    }
    return nowMs - moment;
  };
}
