import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkOf } from './address-range.ts';

test('limits count an address of IPv4, and a /64 of IPv6', () => {
  assert.equal(networkOf('10.0.0.1'), '10.0.0.1');
  assert.equal(networkOf('::ffff:10.0.0.1'), '10.0.0.1');
  assert.equal(networkOf('2001:db8::1'), networkOf('2001:0DB8:0:0:ffff::9'));
  assert.notEqual(networkOf('2001:db8::1'), networkOf('2001:db8:0:1::1'));
  assert.notEqual(networkOf('::1'), networkOf('127.0.0.1'));
  assert.equal(networkOf('no address: none'), 'no address: none');
});
