// The small state keepers of the data path: open counts and deadlines.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeClock } from '../lib/clock.ts';
import { createDeadlines } from './deadlines.ts';
import type { DeadlineEntry } from './deadlines.ts';
import { createOpenCounts } from './drain.ts';

test('open entries are counted per target, and the last one to leave is told', () => {
  const idle: string[] = [];
  const open = createOpenCounts((id) => idle.push(id));
  const closed: string[] = [];
  const leaveOne = open.enter('a', { close: () => void closed.push('one') });
  const leaveTwo = open.enter('a', { close: () => void closed.push('two') });
  open.enter('b', { close: () => void closed.push('three') });
  assert.deepEqual([open.count('a'), open.count('b'), open.count('c'), open.total()], [2, 1, 0, 3]);
  leaveOne();
  leaveOne();
  assert.deepEqual([open.count('a'), open.total()], [1, 2]);
  assert.deepEqual(idle, []);
  leaveTwo();
  assert.deepEqual(idle, ['a']);
  open.closeEverything();
  assert.deepEqual(closed, ['three']);
});

test('entries that leave while all are being closed disturb nothing', () => {
  const open = createOpenCounts(() => undefined);
  const leaves: (() => void)[] = [];
  for (let index = 0; index < 5; index += 1) leaves.push(open.enter('a', { close: () => leaves[index]?.() }));
  open.closeAll('a');
  assert.equal(open.count('a'), 0);
});

test('a deadline passes once, can be moved and taken back', async () => {
  const clock = createFakeClock();
  const deadlines = createDeadlines(clock);
  const passed: string[] = [];
  const entry = (name: string): DeadlineEntry => ({ deadlineMs: deadlines.now() + 3_000, onDeadline: () => void passed.push(name) });
  const [one, two, three] = [entry('one'), entry('two'), entry('three')];
  for (const each of [one, two, three]) deadlines.add(each);
  await clock.advance(2_000);
  two.deadlineMs += 2_000;
  deadlines.delete(three);
  await clock.advance(2_000);
  assert.deepEqual(passed, ['one']);
  await clock.advance(2_000);
  assert.deepEqual(passed, ['one', 'two']);
  assert.equal(deadlines.size(), 0);
  one.deadlineMs = deadlines.now() + 1_000;
  deadlines.add(one);
  deadlines.stop();
  await clock.advance(5_000);
  assert.deepEqual(passed, ['one', 'two']);
});
