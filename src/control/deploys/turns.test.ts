import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTurns } from './turns.ts';

const NOBODY = new Set<string>();

test('those with few Instances take turns with those that have many, each in the order in which they came, and once', () => {
  const turns = createTurns();
  for (const id of ['a', 'b', 'c', 'd']) turns.note(id, 1000);
  for (const id of ['a', 'b', 'x', 'c', 'y', 'd', 'a', 'x']) turns.add(id, 1);
  assert.equal(turns.size, 6);
  const order = Array.from({ length: 7 }, () => turns.next(NOBODY));
  assert.deepEqual(order, ['x', 'a', 'y', 'b', 'c', 'd', undefined]);
  turns.note('a', 1);
  for (const id of ['b', 'a']) turns.add(id, 1);
  assert.deepEqual(new Set([turns.next(NOBODY), turns.next(NOBODY)]), new Set(['a', 'b']));
});

test('one that is new counts by what it shall have', () => {
  const turns = createTurns();
  for (const id of ['a', 'b', 'c']) turns.add(id, 1000);
  turns.add('x', 1);
  turns.add('y', 20);
  assert.deepEqual(
    Array.from({ length: 5 }, () => turns.next(NOBODY)),
    ['x', 'a', 'y', 'b', 'c'],
  );
});

test('one that is busy keeps its place', () => {
  const turns = createTurns();
  for (const id of ['a', 'b']) turns.add(id, 1);
  assert.equal(turns.next(new Set(['a'])), 'b');
  assert.equal(turns.next(new Set(['a'])), undefined);
  assert.equal(turns.size, 1);
  assert.equal(turns.next(NOBODY), 'a');
});

test('only so many are busy at once, and some more of those with few Instances', () => {
  const turns = createTurns();
  const busy = new Set<string>();
  const take = (): void => {
    for (let id = turns.next(busy); id !== undefined; id = turns.next(busy)) busy.add(id);
  };
  for (let index = 0; index < 20; index += 1) {
    turns.note(`many-${index}`, 1000);
    turns.add(`many-${index}`, 1);
  }
  take();
  assert.equal(busy.size, 8);
  for (let index = 0; index < 20; index += 1) turns.add(`few-${index}`, 1);
  take();
  assert.equal([...busy].filter((id) => id.startsWith('few')).length, 8);
  assert.equal(busy.size, 16);
  busy.delete('few-0');
  take();
  assert.ok(busy.has('few-8'));
});
