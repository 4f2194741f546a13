// When a schedule is due, in its own time zone; pure but for the parsed patterns that it keeps.

import { Cron } from 'croner';
import type { EntrypointSpec } from '../../model/manifest-types.ts';

type Schedule = NonNullable<EntrypointSpec['schedule']>;

/** A pattern with a span of time that is known to hold no tick but the one at its end. */
interface Pattern {
  readonly cron: Cron;
  fromMs: number;
  nextMs: number | null;
}

const PATTERNS_KEPT = 5000;
const FIRST_SPAN_MS = 60_000;
const patterns = new Map<string, Pattern>();

function patternOf(schedule: Schedule): Pattern {
  const key = `${schedule.timezone} ${schedule.cron}`;
  const known = patterns.get(key);
  if (known !== undefined) return known;
  if (patterns.size >= PATTERNS_KEPT) patterns.clear();
  const cron = new Cron(schedule.cron, { timezone: schedule.timezone, paused: true });
  const pattern: Pattern = { cron, fromMs: Number.POSITIVE_INFINITY, nextMs: null };
  patterns.set(key, pattern);
  return pattern;
}

/** The first tick after a moment, UTC milliseconds; null: never again. */
export function nextTickMs(schedule: Schedule, afterMs: number): number | null {
  const pattern = patternOf(schedule);
  if (afterMs >= pattern.fromMs && (pattern.nextMs === null || afterMs < pattern.nextMs)) return pattern.nextMs;
  const nextMs = pattern.cron.nextRun(new Date(afterMs))?.getTime() ?? null;
  pattern.fromMs = nextMs === pattern.nextMs ? Math.min(pattern.fromMs, afterMs) : afterMs;
  pattern.nextMs = nextMs;
  return nextMs;
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
