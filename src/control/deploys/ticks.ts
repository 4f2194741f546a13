// When a schedule is due, in its own time zone; pure but for the parsed patterns that it keeps.

import { Cron } from 'croner';
import type { EntrypointSpec } from '../../model/manifest-types.ts';

type Schedule = NonNullable<EntrypointSpec['schedule']>;

const PATTERNS_KEPT = 5000;
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

/** The newest tick in (after, until], and how many there were; at most `limit` are looked at. */
export function ticksBetween(schedule: Schedule, afterMs: number, untilMs: number, limit: number): readonly number[] {
  const ticks: number[] = [];
  for (let tick = nextTickMs(schedule, afterMs); tick !== null && tick <= untilMs && ticks.length < limit;) {
    ticks.push(tick);
    tick = nextTickMs(schedule, tick);
  }
  return ticks;
}
