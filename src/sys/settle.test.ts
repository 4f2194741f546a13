import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Clock } from '../lib/clock.ts';
import { settleMemory } from './settle.ts';

/** A clock whose only timer is fired by hand. */
function handClock(): { readonly clock: Clock; readonly pending: () => number; fire(): void } {
  const waiting = new Set<() => void>();
  return {
    clock: {
      now: () => 0,
      monotonic: () => 0,
      sleep: () => Promise.resolve(),
      timer: (_ms, callback) => {
        waiting.add(callback);
        return () => void waiting.delete(callback);
      },
    },
    pending: () => waiting.size,
    fire: () => {
      for (const callback of Array.from(waiting)) {
        waiting.delete(callback);
        callback();
      }
    },
  };
}

test('memory is collected once, in the first quiet moment and not in a busy one', () => {
  const { clock, pending, fire } = handClock();
  let collected = 0;
  let utilization = 0.5;
  settleMemory(
    clock,
    () => (collected += 1),
    () => utilization,
  );
  fire();
  assert.deepEqual([collected, pending()], [0, 1], 'a busy process looks again');
  utilization = 0.01;
  fire();
  assert.deepEqual([collected, pending()], [1, 0], 'a quiet one collects and is done');
});

test('a cancelled one never collects', () => {
  const { clock, pending, fire } = handClock();
  settleMemory(clock, () => assert.fail('it was cancelled'))();
  assert.equal(pending(), 0);
  fire();
});

test('the real collection takes back what nothing holds', () => {
  const { clock, fire } = handClock();
  let held: object | null = { large: Array.from({ length: 100_000 }, () => 1.5) };
  const reference = new WeakRef(held);
  held = null;
  return pause(1).then(async () => {
    settleMemory(clock, undefined, () => 0);
    fire();
    await pause(1);
    assert.equal(reference.deref(), undefined);
  });
});
