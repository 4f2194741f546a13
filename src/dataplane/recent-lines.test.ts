import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { RecentLines } from './recent-lines.ts';

test('the latest lines are there, oldest first, each as it was', () => {
  const line = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 300 }).map((text) => text.toWellFormed()),
    fc.integer({ min: 0, max: 40_000 }).map((length) => `ü${'x'.repeat(length)}`),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 60 }), (lines) => {
      const recent = new RecentLines(16);
      for (const [index, one] of lines.entries()) {
        recent.push(one);
        const all = recent.all();
        const pushed = lines.slice(0, index + 1);
        assert.deepEqual(all, pushed.slice(pushed.length - all.length));
        assert.ok(all.length >= Math.min(1, pushed.length));
      }
    }),
    { numRuns: 100 },
  );
});

test('as many are kept as was said where they are of usual length', () => {
  const recent = new RecentLines(256);
  const lines = Array.from({ length: 1000 }, (_, index) => `${index} ${'x'.repeat(700)}`);
  for (const line of lines) recent.push(line);
  assert.deepEqual(recent.all(), lines.slice(-256));
});
