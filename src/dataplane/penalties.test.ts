import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeClock } from '../lib/clock.ts';
import { createPenalties } from './penalties.ts';

test('who is ended again and again waits, until the window is over, and nobody else does', async () => {
  const clock = createFakeClock();
  const penalties = createPenalties(clock);
  for (let count = 0; count < 3; count += 1) penalties.note('10.0.0.1');
  assert.equal(penalties.delayMs('10.0.0.1'), 0);
  penalties.note('10.0.0.1');
  assert.equal(penalties.delayMs('10.0.0.1'), 1_000);
  assert.equal(penalties.delayMs('10.0.0.2'), 0);
  await clock.advance(10_000);
  assert.equal(penalties.delayMs('10.0.0.1'), 0);
});

test('strangers cannot fill memory: the oldest window goes first', () => {
  const penalties = createPenalties(createFakeClock());
  for (let count = 0; count < 4; count += 1) penalties.note('first');
  for (let index = 0; index < 5_000; index += 1) penalties.note(`10.0.${index >> 8}.${index & 255}`);
  assert.equal(penalties.delayMs('first'), 0);
});
