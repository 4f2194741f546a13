// The small state keepers of the data path: open counts and deadlines.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createFakeClock } from '../lib/clock.ts';
import { createDeadlines } from './deadlines.ts';
import type { DeadlineEntry } from './deadlines.ts';
import { createOpenCounts } from './drain.ts';
import type { OpenEntry } from './drain.ts';

const openEntry = (close: () => void): OpenEntry => ({ openOn: null, openSlot: -1, close });

test('open entries are counted per target, and the last one to leave is told', () => {
  const idle: string[] = [];
  const open = createOpenCounts((id) => idle.push(id));
  const closed: string[] = [];
  const [one, two, three] = ['one', 'two', 'three'].map((name) => openEntry(() => void closed.push(name)));
  if (one === undefined || two === undefined || three === undefined) throw new Error('no entries');
  open.enter('a', one);
  open.enter('a', two);
  open.enter('b', three);
  assert.deepEqual([open.count('a'), open.count('b'), open.count('c'), open.total()], [2, 1, 0, 3]);
  open.leave(one);
  open.leave(one);
  assert.deepEqual([open.count('a'), open.total()], [1, 2]);
  assert.deepEqual(idle, []);
  open.leave(two);
  assert.deepEqual(idle, ['a']);
  open.closeEverything();
  assert.deepEqual(closed, ['three']);
});

test('entries that leave while all are being closed disturb nothing', () => {
  const open = createOpenCounts(() => undefined);
  const closed: number[] = [];
  const entries: OpenEntry[] = [];
  for (let index = 0; index < 5; index += 1) {
    const own = openEntry(() => {
      closed.push(index);
      // The next one ends with it.
      for (const entry of entries.slice(index, index + 2)) open.leave(entry);
    });
    entries.push(own);
    open.enter('a', own);
  }
  open.closeAll('a');
  assert.equal(open.count('a'), 0);
  assert.deepEqual(closed, [0, 2, 4]);
});

test('whoever comes and goes in whatever order, the counts are right', () => {
  const step = fc.record({ entry: fc.nat(9), target: fc.constantFrom('a', 'b', 'c'), enters: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const idle: string[] = [];
      const open = createOpenCounts((id) => idle.push(id));
      const entries = Array.from({ length: 10 }, () => openEntry(() => undefined));
      const on = new Map<number, string>();
      for (const { entry, target, enters } of steps) {
        const own = entries[entry];
        if (own === undefined) continue;
        if (enters) {
          open.enter(target, own);
          on.set(entry, target);
        } else {
          open.leave(own);
          on.delete(entry);
        }
        for (const id of ['a', 'b', 'c']) assert.equal(open.count(id), [...on.values()].filter((other) => other === id).length);
        assert.equal(open.total(), on.size);
      }
      for (const own of entries) open.leave(own);
      assert.equal(open.total(), 0);
    }),
  );
});

test('a deadline passes once, can be moved and taken back', async () => {
  const clock = createFakeClock();
  const deadlines = createDeadlines(clock);
  const passed: string[] = [];
  const entry = (name: string): DeadlineEntry => ({
    deadlineMs: deadlines.now() + 3_000,
    deadlineSlot: -1,
    onDeadline: () => void passed.push(name),
  });
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

test('every deadline that has passed is told once, whoever is added or taken back by another one', async () => {
  const action = fc.record({ dueMs: fc.nat(5_000), deletes: fc.option(fc.nat(19)), adds: fc.option(fc.nat(19)) });
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 1, maxLength: 20 }), async (actions) => {
      const clock = createFakeClock();
      const deadlines = createDeadlines(clock);
      const told: number[] = [];
      const wanted = new Set<number>();
      const entries = actions.map(({ dueMs, deletes, adds }, index): DeadlineEntry => ({
        deadlineMs: deadlines.now() + dueMs,
        deadlineSlot: -1,
        onDeadline: () => {
          assert.ok(wanted.delete(index), 'it was waiting');
          told.push(index);
          const gone = deletes === null ? undefined : entries[deletes];
          if (gone !== undefined) {
            deadlines.delete(gone);
            wanted.delete(deletes ?? -1);
          }
          const added = adds === null ? undefined : entries[adds];
          // Once only, or it goes on for ever.
          if (added === undefined || adds === null || told.includes(adds)) return;
          deadlines.add(added);
          wanted.add(adds);
        },
      }));
      for (const [index, entry] of entries.entries()) {
        deadlines.add(entry);
        wanted.add(index);
      }
      await clock.advance(10_000);
      assert.equal(deadlines.size(), 0);
      assert.equal(wanted.size, 0);
      assert.equal(new Set(told).size, told.length);
      deadlines.stop();
    }),
  );
});
