import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTurns } from './turns.ts';

const NOBODY = new Set<string>();

test('those with few Instances take turns with those that have many, each in the order in which they came, and once', () => {
  const turns = createTurns();
  for (const id of ['a', 'b', 'c', 'd']) turns.note(id, 1000);
  for (const id of ['a', 'b', 'x', 'c', 'y', 'd', 'a', 'x']) turns.add(id);
  assert.equal(turns.size, 6);
  const order = Array.from({ length: 7 }, () => turns.next(NOBODY));
  assert.deepEqual(order, ['x', 'a', 'y', 'b', 'c', 'd', undefined]);
  turns.note('a', 1);
  for (const id of ['b', 'a']) turns.add(id);
  assert.deepEqual(new Set([turns.next(NOBODY), turns.next(NOBODY)]), new Set(['a', 'b']));
});

test('one that is busy keeps its place', () => {
  const turns = createTurns();
  for (const id of ['a', 'b']) turns.add(id);
  assert.equal(turns.next(new Set(['a'])), 'b');
  assert.equal(turns.next(new Set(['a'])), undefined);
  assert.equal(turns.size, 1);
  assert.equal(turns.next(NOBODY), 'a');
});
