import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { LogLine } from '../driver/contract.ts';
import { lastLines, linesThatPass } from './log-filter.ts';

const line = (atMs: number, text: string): LogLine => ({ atMs, stream: 'stdout', text, cursor: String(atMs) });

async function* given(lines: readonly LogLine[]): AsyncGenerator<LogLine> {
  yield* lines;
}

const textsOf = async (lines: AsyncIterable<LogLine>): Promise<string[]> => (await Array.fromAsync(lines)).map(({ text }) => text);

test('a line passes where its time is within the bounds, both included, and the pattern occurs in it', async () => {
  const lines = [line(1, 'GET /a'), line(2, 'error: no'), line(4, 'warn'), line(3, 'Error: yes'), line(5, 'error')];
  assert.deepEqual(await textsOf(linesThatPass(given(lines), {})), ['GET /a', 'error: no', 'warn', 'Error: yes', 'error']);
  assert.deepEqual(await textsOf(linesThatPass(given(lines), { sinceMs: 2, untilMs: 3 })), ['error: no', 'Error: yes']);
  assert.deepEqual(await textsOf(linesThatPass(given(lines), { grep: '(?i)error:?' })), ['error: no', 'Error: yes', 'error']);
  assert.deepEqual(await textsOf(linesThatPass(given(lines), { grep: '^error$' })), ['error']);
  assert.deepEqual(await textsOf(linesThatPass(given(lines), { grep: 'error', untilMs: 4 })), ['error: no']);
});

test('the last lines are those of a slice, within their bytes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(3000), fc.nat(40), async (length, count) => {
      const lines = Array.from({ length }, (_, index) => line(index, String(index)));
      assert.deepEqual(await Array.fromAsync(lastLines(given(lines), count)), count === 0 ? [] : lines.slice(-count));
    }),
    { numRuns: 60 },
  );
  const large = ['a', 'b', 'c'].map((letter, index) => line(index, letter.repeat(10)));
  assert.deepEqual(await textsOf(lastLines(given(large), 3, 20)), ['bbbbbbbbbb', 'cccccccccc']);
  assert.deepEqual(await textsOf(lastLines(given(large), 3, 5)), ['cccccccccc'], 'one at least');
});
