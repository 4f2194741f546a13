import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freeSubnets, routedRanges } from './subnets.ts';

const first = (pool: string, taken: readonly string[], name: string): string | undefined =>
  freeSubnets(pool, taken, name).next().value ?? undefined;

test('a pool holds a thousand subnets of which no two overlap', () => {
  const all = [...freeSubnets('10.212.0.0/14', [], 'app')];
  assert.equal(new Set(all).size, 1024);
  assert.ok(all.every((subnet) => /^10\.21[2-5]\.\d+\.0\/24$/u.test(subnet)));
});

test('what anything uses is left out, whatever its size, and the same name begins at the same place', () => {
  const wanted = first('10.213.0.0/16', [], 'app');
  assert.equal(first('10.213.0.0/16', [], 'app'), wanted);
  assert.notEqual(first('10.213.0.0/16', [wanted ?? ''], 'app'), wanted);
  assert.deepEqual([...freeSubnets('10.213.0.0/22', ['10.213.0.77/32', '10.213.2.0/23', 'fd00::/64'], 'x')], ['10.213.1.0/24']);
  assert.deepEqual([...freeSubnets('10.213.0.0/22', ['10.0.0.0/8'], 'x')], []);
});

test('routes of the machine are read, but for the default one', () => {
  const head = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT';
  const rows = [
    'eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0',
    'tun0\t0000D50A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0',
    '',
  ];
  assert.deepEqual(routedRanges([head, ...rows].join('\n')), ['10.213.0.0/16']);
  assert.deepEqual(routedRanges(''), []);
});
