import assert from 'node:assert/strict';
import { test } from 'node:test';
import { worksWith } from './version-skew.ts';

test('neighbours in the minor version work together, others are told', () => {
  for (const [one, other] of [
    ['0.1.0', '0.1.9'],
    ['0.1.3', '0.2.0'],
    ['1.5.0', '1.4.7'],
    ['1.5.0-beta.1', '1.6.0'],
    ['1.0.0', 'test'],
  ] as const)
    assert.ok(worksWith(one, other) && worksWith(other, one), `${one} ${other}`);
  for (const [one, other] of [
    ['0.1.0', '0.3.0'],
    ['1.5.0', '2.5.0'],
    ['0.9.0', '1.0.0'],
  ] as const)
    assert.ok(!worksWith(one, other) && !worksWith(other, one), `${one} ${other}`);
});
