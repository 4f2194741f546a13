import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createFakeClock } from '../../lib/clock.ts';
import { createRateLimiter } from './rate-limit.ts';

test('no key gets more than its burst and what has come back since, and each gets that much', async () => {
  const step = fc.record({ key: fc.constantFrom('a', 'b'), waitMs: fc.integer({ min: 0, max: 4_000 }) });
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.integer({ min: 1, max: 8 }),
      fc.array(step, { maxLength: 60 }),
      async (requests, burst, steps) => {
        const clock = createFakeClock();
        const limiter = createRateLimiter({ requests, perMs: 1_000, burst, by: 'address' }, clock);
        const admitted = new Map<string, number[]>();
        for (const { key, waitMs } of steps) {
          await clock.advance(waitMs);
          const nowMs = clock.monotonic();
          const { allowed, remaining, resetS } = limiter.take(key);
          const times = admitted.get(key) ?? [];
          if (allowed) times.push(nowMs);
          admitted.set(key, times);
          assert.ok(remaining >= 0 && remaining < burst && resetS >= 1);
          // In any stretch of time: at most the burst and what came back in it.
          for (const from of times) {
            const count = times.filter((at) => at >= from).length;
            assert.ok(count <= burst + ((nowMs - from) * requests) / 1_000 + 1e-6, `${count} since ${nowMs - from} ms`);
          }
          // Whoever has waited for a token has one.
          if (!allowed) {
            const last = times.at(-1) ?? -Infinity;
            assert.ok(nowMs - last < 1_000 / requests + 1e-6);
          }
        }
      },
    ),
  );
});

test('keys of strangers are forgotten when they are full again, and the oldest when there are too many', async () => {
  const clock = createFakeClock();
  const limiter = createRateLimiter({ requests: 1, perMs: 60_000, burst: 1, by: 'address' }, clock);
  assert.equal(limiter.take('first').allowed, true);
  assert.equal(limiter.take('first').allowed, false);
  for (let index = 0; index < 25_000; index += 1) limiter.take(`stranger ${index}`);
  assert.equal(limiter.take('first').allowed, true, 'it was the oldest');
  assert.equal(limiter.take('stranger 24999').allowed, false, 'the newest are kept');
  await clock.advance(60_000);
  assert.equal(limiter.take('stranger 24999').allowed, true);
});
