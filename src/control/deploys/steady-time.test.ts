import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeClock } from '../../lib/clock.ts';
import { createSteadyTime } from './steady-time.ts';

test('real time passes evenly although the wall clock jumps there and back', async () => {
  const clock = createFakeClock();
  const elapsedMs = createSteadyTime(clock);
  const start = clock.now();
  assert.equal(elapsedMs(start), 0);
  await clock.advance(5000);
  clock.jump(3_600_000);
  assert.equal(elapsedMs(start), 5000);
  const afterJump = clock.now();
  assert.equal(elapsedMs(afterJump), 0);
  await clock.advance(2000);
  clock.jump(-7_200_000);
  assert.equal(elapsedMs(start), 7000);
  assert.equal(elapsedMs(afterJump), 2000);
  assert.equal(elapsedMs(clock.now() + 500), 0, 'the future has not elapsed');
});

test('what was recorded before this process counts by the wall clock', async () => {
  const clock = createFakeClock();
  assert.equal(createSteadyTime(clock)(clock.now() - 60_000), 60_000);
});
