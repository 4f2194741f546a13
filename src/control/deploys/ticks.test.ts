// Ticks in time zones, over the changes of summer time, and looked for backwards.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { lastTickIn, nextTickMs } from './ticks.ts';

const plan = (cron: string, timezone = 'UTC') => ({ cron, timezone, overlap: 'skip' as const, missed: 'skip' as const });
const at = (text: string): number => Date.parse(text);

test('a tick is at the hour of its own time zone, in winter and in summer', () => {
  const berlin = plan('0 3 * * *', 'Europe/Berlin');
  assert.equal(nextTickMs(berlin, at('2026-01-10T12:00:00Z')), at('2026-01-11T02:00:00Z'));
  assert.equal(nextTickMs(berlin, at('2026-07-10T12:00:00Z')), at('2026-07-11T01:00:00Z'));
});

test('the hour that is there twice in autumn gives one daily tick, the one that is missing in spring is not lost', () => {
  const half = plan('30 2 * * *', 'Europe/Berlin');
  const ticks = (from: string, to: string): number[] => {
    const found: number[] = [];
    for (let tick = nextTickMs(half, at(from)); tick !== null && tick <= at(to); tick = nextTickMs(half, tick)) found.push(tick);
    return found;
  };
  assert.equal(ticks('2026-10-24T12:00:00Z', '2026-10-26T12:00:00Z').length, 2);
  assert.equal(ticks('2026-03-28T12:00:00Z', '2026-03-30T12:00:00Z').length, 2);
});

test('the last tick of a span is the one that stepping through it ends with', () => {
  fc.assert(
    fc.property(
      fc.constantFrom('* * * * *', '*/7 * * * *', '0 3 * * *', '15 14 * * 1', '*/20 * * * * *', '0 9-17 * * 1-5'),
      fc.integer({ min: 0, max: 200_000 }),
      fc.integer({ min: 0, max: 100_000 }),
      (cron, startMinutes, lengthSeconds) => {
        const schedule = plan(cron);
        const from = at('2026-01-01T00:00:00Z') + startMinutes * 60_000;
        const until = from + lengthSeconds * (cron.split(' ').length === 6 ? 10 : 1000);
        let expected: number | null = null;
        for (let tick = nextTickMs(schedule, from); tick !== null && tick <= until; tick = nextTickMs(schedule, tick)) expected = tick;
        assert.equal(lastTickIn(schedule, from, until), expected);
      },
    ),
    { numRuns: 40 },
  );
});

test('a span without a tick has none', () => {
  assert.equal(lastTickIn(plan('0 3 * * *'), at('2026-01-01T04:00:00Z'), at('2026-01-01T05:00:00Z')), null);
  assert.equal(lastTickIn(plan('0 3 * * *'), at('2026-01-01T05:00:00Z'), at('2026-01-01T05:00:00Z')), null);
});
