import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createSeededRandom } from '../lib/id.ts';
import { DEFAULT_ABORT } from './canary.ts';
import { bucketOf, figuresOf, judge, LATENCY_BOUNDS_MS, NO_REQUESTS, plus, quantileMs, wilson } from './version-counts.ts';
import type { VersionCount } from './version-counts.ts';

interface Behaviour {
  readonly errorRate: number;
  /** Median; every hundredth request takes twenty times as long. */
  readonly latencyMs: number;
}

function counted(requests: number, { errorRate, latencyMs }: Behaviour, random: () => number): VersionCount {
  const latencies = [...NO_REQUESTS.latencies];
  let errors = 0;
  let latencySumMs = 0;
  for (let index = 0; index < requests; index += 1) {
    if (random() < errorRate) errors += 1;
    // Spread over a factor of four, with a tail.
    const ms = latencyMs * 4 ** (random() - 0.5) * (random() < 0.01 ? 20 : 1);
    latencySumMs += ms;
    const bucket = bucketOf(ms);
    latencies[bucket] = (latencies[bucket] ?? 0) + 1;
  }
  return { requests, errors, latencySumMs, latencies };
}

const compared = (stable: VersionCount, candidate: VersionCount) => ({
  entrypoint: 'web',
  windowMs: 30_000,
  stable,
  candidate,
  recent: { stable, candidate },
});

test('two versions that behave alike are never told apart, however many are looked at', () => {
  const { next } = createSeededRandom(11);
  for (const errorRate of [0, 0.01, 0.2]) {
    for (const latencyMs of [0.5, 8, 300]) {
      for (const [m, n] of [
        [200, 20],
        [1000, 100],
        [5000, 600],
        [25, 400],
      ] as const) {
        for (let look = 0; look < 60; look += 1) {
          const behaviour = { errorRate, latencyMs };
          assert.equal(judge(compared(counted(m, behaviour, next), counted(n, behaviour, next)), DEFAULT_ABORT, true), null);
        }
      }
    }
  }
});

test('one that fails, or is much slower, is told with a few dozen requests', () => {
  const { next } = createSeededRandom(5);
  const good = { errorRate: 0, latencyMs: 10 };
  for (let look = 0; look < 100; look += 1) {
    assert.match(
      judge(compared(counted(200, good, next), counted(20, { ...good, errorRate: 1 }, next)), DEFAULT_ABORT, true) ?? '',
      /100 % of 20 .* against 0 % of 200/u,
    );
    assert.match(
      judge(compared(counted(200, good, next), counted(60, { ...good, errorRate: 0.5 }, next)), DEFAULT_ABORT, true) ?? '',
      /failed/u,
    );
    assert.match(
      judge(compared(counted(200, good, next), counted(40, { ...good, latencyMs: 500 }, next)), DEFAULT_ABORT, true) ?? '',
      /slow: p50/u,
    );
  }
});

test('a few slow ones among many are told by the last percentile', () => {
  const { next } = createSeededRandom(6);
  const good = { errorRate: 0, latencyMs: 5 };
  const stable = counted(5000, good, next);
  const candidate = plus(counted(900, good, next), counted(100, { errorRate: 0, latencyMs: 3000 }, next));
  assert.match(judge(compared(stable, candidate), DEFAULT_ABORT, true) ?? '', /slow: p9/u);
});

test('too few requests are no ground, and what the stable one suffers from too is none either', () => {
  const { next } = createSeededRandom(7);
  const bad = { errorRate: 1, latencyMs: 10 };
  assert.equal(judge(compared(counted(500, { errorRate: 0, latencyMs: 10 }, next), counted(19, bad, next)), DEFAULT_ABORT, true), null);
  assert.equal(judge(compared(counted(500, bad, next), counted(500, bad, next)), DEFAULT_ABORT, true), null);
  assert.match(judge(compared(NO_REQUESTS, counted(50, bad, next)), DEFAULT_ABORT, true) ?? '', /nothing else was asked/u);
  assert.equal(judge(compared(NO_REQUESTS, counted(50, { errorRate: 0, latencyMs: 9999 }, next)), DEFAULT_ABORT, true), null);
});

test('a millisecond that becomes ten is no ground: nobody feels it', () => {
  const { next } = createSeededRandom(8);
  const of = (latencyMs: number, count: number): VersionCount => counted(count, { errorRate: 0, latencyMs }, next);
  assert.equal(judge(compared(of(0.5, 2000), of(4, 500)), DEFAULT_ABORT, true), null);
});

test('a latency lies in its bucket, and a quantile is at most an octave half above it', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 200_000, noNaN: true }), (ms) => {
      const bucket = bucketOf(ms);
      assert.ok(ms <= (LATENCY_BOUNDS_MS[bucket] ?? Number.POSITIVE_INFINITY) * (1 + 1e-9));
      assert.ok(bucket === 0 || ms > (LATENCY_BOUNDS_MS[bucket - 1] ?? 0) * (1 - 1e-9));
    }),
  );
  const { next } = createSeededRandom(9);
  const count = counted(1000, { errorRate: 0.1, latencyMs: 100 }, next);
  const p50 = quantileMs(count, 0.5) ?? 0;
  assert.ok(p50 >= 90 && p50 <= 150, String(p50));
  const figures = figuresOf(count);
  assert.ok(Math.abs((figures.errorRate ?? 0) - 0.1) < 0.04);
  assert.deepEqual(figuresOf(NO_REQUESTS), { requests: 0, errorRate: null, meanMs: null, p50Ms: null, p99Ms: null });
});

test('Wilson’s interval holds the share and closes in on it', () => {
  fc.assert(
    fc.property(fc.nat(1000), fc.integer({ min: 1, max: 1000 }), (part, all) => {
      const k = Math.min(part, all);
      const [low, high] = [wilson(k, all, -3), wilson(k, all, 3)];
      assert.ok(low <= k / all + 1e-12 && k / all <= high + 1e-12 && low >= 0 && high <= 1);
      assert.ok(wilson(k * 10, all * 10, -3) >= low - 1e-12);
    }),
  );
});

test('slow at first is no ground: not while it is cold, and not when it is over', () => {
  const { next } = createSeededRandom(12);
  const good = { errorRate: 0, latencyMs: 10 };
  const cold = counted(100, { errorRate: 0, latencyMs: 900 }, next);
  const stable = counted(1000, good, next);
  const whole = compared(stable, plus(cold, counted(200, good, next)));
  assert.match(judge(whole, DEFAULT_ABORT, true) ?? '', /slow/u);
  assert.equal(judge(whole, DEFAULT_ABORT, false), null);
  assert.equal(judge({ ...whole, recent: { stable, candidate: counted(200, good, next) } }, DEFAULT_ABORT, true), null);
  assert.match(
    judge(compared(stable, counted(50, { ...good, errorRate: 1 }, next)), DEFAULT_ABORT, false) ?? '',
    /fails/u,
    'errors count at once',
  );
});
