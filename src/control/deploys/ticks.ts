// When a schedule is due, in its own time zone; pure but for the parsed patterns that it keeps.

import { Cron } from 'croner';
import type { EntrypointSpec } from '../../model/manifest-types.ts';

type Schedule = NonNullable<EntrypointSpec['schedule']>;

const PATTERNS_KEPT = 5000;
const FIRST_SPAN_MS = 60_000;
const patterns = new Map<string, Cron>();

function patternOf(schedule: Schedule): Cron {
  const key = `${schedule.timezone} ${schedule.cron}`;
  const known = patterns.get(key);
  if (known !== undefined) return known;
  if (patterns.size >= PATTERNS_KEPT) patterns.clear();
  const pattern = new Cron(schedule.cron, { timezone: schedule.timezone, paused: true });
  patterns.set(key, pattern);
  return pattern;
}

/** The first tick after a moment, UTC milliseconds; null: never again. */
export function nextTickMs(schedule: Schedule, afterMs: number): number | null {
  return patternOf(schedule).nextRun(new Date(afterMs))?.getTime() ?? null;
}

/** The newest tick in (after, until]; null: none. Looks back in growing steps, so that many ticks cost no more than a few. */
export function lastTickIn(schedule: Schedule, afterMs: number, untilMs: number): number | null {
  for (let spanMs = FIRST_SPAN_MS; ; spanMs *= 2) {
    const fromMs = Math.max(afterMs, untilMs - spanMs);
    let last: number | null = null;
    for (let tick = nextTickMs(schedule, fromMs); tick !== null && tick <= untilMs; tick = nextTickMs(schedule, tick)) last = tick;
    if (last !== null || fromMs === afterMs) return last;
  }
}
