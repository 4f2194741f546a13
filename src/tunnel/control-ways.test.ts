import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createControlWays } from './control-ways.ts';

test('one is used until it fails, and what was under way on it ends', () => {
  const ways = createControlWays(['a', 'b', 'c']);
  const leaving = ways.leaving();
  assert.equal(ways.failed('b'), false, 'not the one in use');
  assert.equal(leaving.aborted, false);
  assert.equal(ways.failed('a'), true);
  assert.equal(leaving.aborted, true);
  assert.deepEqual([ways.current(), ways.leaving().aborted], ['b', false]);
  assert.equal(ways.failed('a'), false, 'noticed a second time');
  assert.equal(ways.failed('b') && ways.failed('c'), true);
  assert.equal(ways.current(), 'a');
});

test('where there is no other nothing ends', () => {
  const ways = createControlWays(['a']);
  assert.equal(ways.failed('a'), false);
  assert.deepEqual([ways.current(), ways.leaving().aborted], ['a', false]);
});

test('those that there are are learned, and the one in use is kept if it is among them', () => {
  const ways = createControlWays(['a']);
  assert.equal(ways.learn(['b', 'a']), true);
  assert.equal(ways.learn(['a', 'b']), false);
  assert.deepEqual([ways.current(), ways.all()], ['a', ['b', 'a']]);
  assert.equal(ways.learn([]), false, 'nobody is no answer');
  const leaving = ways.leaving();
  assert.equal(ways.learn(['b', 'c']), true);
  assert.deepEqual([ways.current(), leaving.aborted], ['b', true]);
});

test('whatever fails and is learned, the one in use is a known one', () => {
  const url = fc.constantFrom('a', 'b', 'c', 'd');
  const step = fc.oneof(
    url.map((failed) => ({ failed })),
    fc.array(url, { maxLength: 4 }).map((learned) => ({ learned })),
  );
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const ways = createControlWays(['a', 'b']);
      for (const each of steps) {
        if ('failed' in each) ways.failed(each.failed);
        else ways.learn(each.learned);
        assert.ok(ways.all().includes(ways.current()) && !ways.leaving().aborted);
      }
    }),
  );
});
