import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { RetryBudget } from './retry-budget.ts';

function granted(budget: RetryBudget, atMs: number, asked: number): number {
  let count = 0;
  for (let index = 0; index < asked; index += 1) if (budget.mayRetry(atMs)) count += 1;
  return count;
}

test('a group without requests has the floor alone, and again when it was used ten seconds ago', () => {
  const budget = new RetryBudget(20);
  assert.equal(granted(budget, 1_000, 500), 100);
  assert.equal(granted(budget, 10_900, 500), 0);
  assert.equal(granted(budget, 11_000, 500), 100);
});

test('what did not come about is given back', () => {
  const budget = new RetryBudget(20);
  assert.equal(granted(budget, 1_000, 100), 100);
  assert.equal(budget.mayRetry(1_500), false);
  budget.giveBack();
  assert.equal(granted(budget, 1_500, 10), 1);
  assert.equal(granted(budget, 12_000, 500), 100);
});

test('retries are a share of the requests of ten seconds', () => {
  const budget = new RetryBudget(20);
  for (let index = 0; index < 1_000; index += 1) budget.onRequest(5_000);
  assert.equal(granted(budget, 5_000, 1_000), 300);
  assert.equal(granted(budget, 14_999, 1_000), 0);
  assert.equal(granted(budget, 15_000, 1_000), 100, 'requests and retries of before are forgotten');
});

test('whenever a retry is granted, those of ten seconds are within their share of the requests', () => {
  const step = fc.record({ pauseMs: fc.integer({ min: 0, max: 4_000 }), requests: fc.nat(40), retries: fc.nat(60) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.constantFrom(0, 20, 100), (steps, percent) => {
      const budget = new RetryBudget(percent);
      const log: { readonly atMs: number; readonly requests: number; readonly retries: number }[] = [];
      let nowMs = 0;
      for (const { pauseMs, requests, retries } of steps) {
        nowMs += pauseMs;
        for (let index = 0; index < requests; index += 1) budget.onRequest(nowMs);
        const now = granted(budget, nowMs, retries);
        log.push({ atMs: nowMs, requests, retries: now });
        // Requests may be forgotten before the retries that they paid for.
        if (now === 0) continue;
        const recent = log.filter((entry) => Math.floor(entry.atMs / 1_000) > Math.floor(nowMs / 1_000) - 10);
        const sum = (of: 'requests' | 'retries'): number => recent.reduce((total, entry) => total + entry[of], 0);
        assert.ok(sum('retries') <= 100 + (sum('requests') * percent) / 100);
      }
    }),
  );
});
