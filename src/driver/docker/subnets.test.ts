import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freeSubnets } from './subnets.ts';

const first = (pool: string, taken: readonly string[], name: string): string | undefined =>
  freeSubnets(pool, taken, name).next().value ?? undefined;

test('a pool holds a thousand subnets of which no two overlap', () => {
  const all = [...freeSubnets('10.213.0.0/16', [], 'app')];
  assert.equal(new Set(all).size, 1024);
  assert.ok(all.every((subnet) => /^10\.213\.\d+\.(?:0|64|128|192)\/26$/u.test(subnet)));
});

test('what anything uses is left out, whatever its size, and the same name begins at the same place', () => {
  const wanted = first('10.213.0.0/16', [], 'app');
  assert.equal(first('10.213.0.0/16', [], 'app'), wanted);
  assert.notEqual(first('10.213.0.0/16', [wanted ?? ''], 'app'), wanted);
  assert.deepEqual([...freeSubnets('10.213.0.0/24', ['10.213.0.77/32', '10.213.0.128/25', 'fd00::/64'], 'x')], ['10.213.0.0/26']);
  assert.deepEqual([...freeSubnets('10.213.0.0/24', ['10.0.0.0/8'], 'x')], []);
});
