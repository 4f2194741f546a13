import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { isFailure } from '../lib/failure.ts';
import {
  canaryInstances,
  checkedPlan,
  DEFAULT_ABORT,
  describeCanary,
  formatRule,
  formatSteps,
  formatSticky,
  parseCanary,
  parseRule,
  parseStep,
  parseSticky,
} from './canary.ts';
import type { CanaryWords } from './canary.ts';

const words = (change: Partial<CanaryWords>): CanaryWords => ({
  canary: null,
  steps: null,
  sticky: null,
  keep: null,
  abortOn: null,
  ...change,
});

test('the words of the command line become a plan', () => {
  assert.equal(parseCanary(words({})), undefined);
  assert.equal(parseCanary(words({ canary: 'off' })), null);
  assert.deepEqual(parseCanary(words({ canary: '1%', abortOn: 'errors=5%,latency=3' }))?.abortOn, {
    errorRate: 0.05,
    latency: 3,
    requests: 20,
  });
  assert.equal(parseCanary(words({ canary: '1%', abortOn: 'off' }))?.abortOn, null);
  const base = { rules: [], sticky: null, abortOn: DEFAULT_ABORT, keepMs: 0 };
  assert.deepEqual(parseCanary(words({ canary: '10%' })), { ...base, steps: [{ percent: 10, holdMs: null }] });
  assert.deepEqual(parseCanary(words({ canary: 'header:X-Beta=1,cookie:beta,2.5%', sticky: 'header:X-User' })), {
    ...base,
    steps: [{ percent: 2.5, holdMs: null }],
    rules: [
      { kind: 'header', name: 'x-beta', value: '1' },
      { kind: 'cookie', name: 'beta', value: null },
    ],
    sticky: { kind: 'header', name: 'x-user' },
  });
  assert.deepEqual(parseCanary(words({ canary: '0%' }))?.keepMs, 600_000);
  assert.deepEqual(parseCanary(words({ canary: '0%', keep: '0' }))?.keepMs, 0);
  assert.deepEqual(parseCanary(words({ canary: 'header:x-beta' }))?.keepMs, 0);
  assert.deepEqual(parseCanary(words({ steps: '5%:2m,25%:5m,50%' }))?.steps, [
    { percent: 5, holdMs: 120_000 },
    { percent: 25, holdMs: 300_000 },
    { percent: 50, holdMs: null },
  ]);
});

test('what cannot be meant is refused with what is expected', () => {
  for (const [wrong, message] of [
    [{ canary: '10' }, /10%/u],
    [{ canary: '101%' }, /share such as/u],
    [{ canary: '10%,20%' }, /one share/u],
    [{ canary: '10%', steps: '5%:1m' }, /leave the one/u],
    [{ steps: '5%,10%' }, /5% has none/u],
    [{ steps: '5%:1m,5%:1m' }, /must grow/u],
    [{ steps: '5%:soon' }, /with their time/u],
    [{ steps: Array.from({ length: 21 }, (_unused, index) => `${index}%:1s`).join(',') }, /at most 20/u],
    [{ canary: '5%', sticky: 'ip' }, /--sticky takes/u],
    [{ canary: '5%', keep: 'long' }, /--keep takes/u],
    [{ sticky: 'cookie' }, /needs a canary/u],
    [{ canary: 'off', steps: '5%:1m' }, /--steps needs/u],
    [{ canary: '5%', abortOn: 'errors=5' }, /--abort-on takes/u],
    [{ canary: '5%', abortOn: 'latency=0.5' }, /--abort-on takes/u],
    [{ keep: '1m' }, /--keep needs/u],
    [{ abortOn: 'off' }, /--abort-on needs/u],
  ] as const) {
    assert.throws(
      () => parseCanary(words(wrong)),
      (error: unknown) => isFailure(error, 'invalid_input') && message.test(error.message),
      JSON.stringify(wrong),
    );
  }
});

test('what is printed parses back', () => {
  const percent = fc.integer({ min: 0, max: 10_000 }).map((value) => value / 100);
  fc.assert(
    fc.property(percent, fc.option(fc.integer({ min: 0, max: 1e9 })), (share, holdMs) => {
      assert.deepEqual(parseStep(formatSteps([{ percent: share, holdMs }])), { percent: share, holdMs });
    }),
  );
  for (const text of ['header:x-beta=1', 'cookie:beta', 'header:a=', 'cookie:b=c=d']) {
    const rule = parseRule(text);
    assert.equal(rule === null ? null : formatRule(rule), text);
  }
  for (const text of ['address', 'cookie', 'cookie:session', 'header:x-user']) {
    const sticky = parseSticky(text);
    assert.equal(sticky === null ? null : formatSticky(sticky), text);
  }
});

test('a canary has its part of the Instances, at least one, and for a switch all of them', () => {
  const of = (text: string, percent: number, wanted: number): number => {
    const plan = parseCanary(words({ canary: text }));
    assert.ok(plan);
    return canaryInstances(plan, percent, wanted);
  };
  assert.deepEqual([of('10%', 10, 1), of('10%', 10, 4), of('10%', 26, 4), of('10%', 100, 4), of('10%', 10, 0)], [1, 1, 2, 4, 0]);
  assert.deepEqual([of('header:a', 0, 8), of('0%', 0, 8)], [1, 8]);
});

test('a plan of the API is brought into the one form, and described in words', () => {
  const plan = checkedPlan({
    steps: [
      { percent: 5, holdMs: 60_000 },
      { percent: 50, holdMs: null },
    ],
    rules: [{ kind: 'header', name: 'X-Beta', value: '1' }],
    sticky: { kind: 'header', name: 'X-User' },
    abortOn: null,
    keepMs: 60_000,
  });
  assert.equal(
    describeCanary(plan),
    '5%:1m,50%, header:x-beta=1, sticky by header:x-user, then it waits for libra promote, the old Instances stay at hand for 1m',
  );
  assert.throws(
    () => checkedPlan({ ...plan, steps: [] }),
    (error: unknown) => isFailure(error, 'invalid_input'),
  );
});
