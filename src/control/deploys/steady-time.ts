// Real time between two recorded moments although the wall clock may jump: every jump that happens while this process runs is noticed
// against the monotonic clock and taken out. Deadlines and drains neither fire nor hang because somebody set the clock.

import type { Clock } from '../../lib/clock.ts';

const JUMP_MS = 1000;
const JUMPS_KEPT = 32;

export interface SteadyTime {
  /** Compares the clocks; call it at the start of each pass. */
  observe(): void;
  /** Real milliseconds since a moment that was recorded in wall-clock time; at least 0. */
  elapsedMs(sinceMs: number): number;
}

export function createSteadyTime(clock: Clock): SteadyTime {
  let wallMs = clock.now();
  let monotonicMs = clock.monotonic();
  /** The wall clock stood at `atMs` when it jumped by `byMs`. */
  let jumps: readonly { readonly atMs: number; readonly byMs: number }[] = [];
  return {
    observe: () => {
      const now = clock.now();
      const monotonic = clock.monotonic();
      const byMs = now - wallMs - (monotonic - monotonicMs);
      if (Math.abs(byMs) >= JUMP_MS) jumps = [...jumps, { atMs: wallMs + (monotonic - monotonicMs), byMs }].slice(-JUMPS_KEPT);
      wallMs = now;
      monotonicMs = monotonic;
    },
    elapsedMs: (sinceMs) => {
      let elapsed = clock.now() - sinceMs;
      for (const jump of jumps) if (sinceMs <= jump.atMs) elapsed -= jump.byMs;
      return Math.max(0, elapsed);
    },
  };
}
