// The small state keepers of the data path: open counts, passive health, deadlines, turns.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeClock } from '../lib/clock.ts';
import { createRoundRobin } from './balance.ts';
import { createDeadlines } from './deadlines.ts';
import type { DeadlineEntry } from './deadlines.ts';
import { createOpenCounts } from './drain.ts';
import { createPassiveHealth } from './health.ts';

const target = (id: string, port = 1) => ({ id, nodeId: 'n', host: '127.0.0.1', port });

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

test('a target that refuses again stays out longer, up to a bound, and one answer clears it', async () => {
  const clock = createFakeClock();
  const health = createPassiveHealth(clock);
  const outMs = async (): Promise<number> => {
    health.failed(target('a'));
    let ms = 0;
    while (health.isOut(target('a'))) {
      await clock.advance(100);
      ms += 100;
    }
    return ms;
  };
  const times: number[] = [];
  for (let round = 0; round < 7; round += 1) times.push(await outMs());
  assert.deepEqual(times, [500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
  health.succeeded(target('a'));
  assert.equal(await outMs(), 500);
});

test('failures at the same time are one; another port of the same Instance is another place', () => {
  const health = createPassiveHealth(createFakeClock());
  for (let round = 0; round < 5; round += 1) health.failed(target('a'));
  assert.equal(health.isOut(target('a')), true);
  assert.equal(health.isOut(target('a', 2)), false);
  assert.deepEqual(health.ejected(), ['a']);
  health.retain([target('b')]);
  assert.deepEqual(health.ejected(), []);
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

test('turns go round', () => {
  const balancer = createRoundRobin();
  const targets = ['a', 'b', 'c'].map((id) => target(id));
  assert.deepEqual(
    [0, 1, 2, 3].map(() => balancer.pick(targets)?.id),
    ['a', 'b', 'c', 'a'],
  );
  assert.equal(balancer.pick([]), null);
});
