import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { isFailure } from '../lib/failure.ts';
import { clientOf, createTrusted, parseForwarded } from './client-address.ts';
import type { Claims, Client } from './client-address.ts';

const trusted = createTrusted(['10.0.0.0/8', '192.0.2.7', '2001:db8::/32']);
const HOP = '10.0.0.1';

const from = (address: string, claims: Claims): Client => clientOf({ address, scheme: 'http' }, claims, trusted);
const summary = (client: Client): unknown[] => [client.address, client.scheme, client.host, client.chain];

test('a stranger says nothing about anybody', () => {
  const claims = { forwardedFor: '1.1.1.1', forwardedProto: 'https', forwardedHost: 'x.example', forwarded: 'for=1.1.1.1;proto=https' };
  assert.deepEqual(summary(from('203.0.113.9', claims)), ['203.0.113.9', 'http', null, '203.0.113.9']);
});

test('a trusted hop is believed about the one before it, and no further', () => {
  const claims = { forwardedFor: '6.6.6.6, 203.0.113.9', forwardedProto: 'https', forwardedHost: 'Shop.example' };
  assert.deepEqual(summary(from(HOP, claims)), ['203.0.113.9', 'https', 'shop.example', `203.0.113.9, ${HOP}`]);
  assert.deepEqual(summary(from(HOP, { forwardedFor: '6.6.6.6, 203.0.113.9, 10.9.9.9' })), [
    '203.0.113.9',
    'http',
    null,
    `203.0.113.9, 10.9.9.9, ${HOP}`,
  ]);
  assert.equal(from(HOP, {}).address, HOP);
});

test('entries may have a port or brackets; what is no address ends the walk', () => {
  const one = (forwardedFor: string): string => from(HOP, { forwardedFor }).address;
  assert.equal(one('203.0.113.9:4711'), '203.0.113.9');
  assert.equal(one('[2001:DB9::1]:80'), '2001:db9::1');
  assert.equal(one('2001:db9::1'), '2001:db9::1');
  assert.equal(one('::ffff:203.0.113.9'), '203.0.113.9');
  assert.equal(one('203.0.113.9, unknown'), HOP);
  assert.equal(one('203.0.113.9, '), HOP);
  assert.equal(one('fe80::1%eth0'), HOP);
  assert.equal(one('203.0.113.9, 010.0.0.2'), HOP);
});

test('the standard field is understood alone', () => {
  assert.deepEqual(summary(from(HOP, { forwarded: 'for=6.6.6.6, For="[2001:db9::1]:80";Proto=HTTPS;host="shop.example:8443";by=_x' })), [
    '2001:db9::1',
    'https',
    'shop.example:8443',
    `2001:db9::1, ${HOP}`,
  ]);
  assert.equal(from(HOP, { forwarded: 'for=unknown' }).address, HOP);
  assert.equal(from(HOP, { forwarded: 'for=_hidden' }).address, HOP);
});

test('claims that contradict each other are both worth nothing', () => {
  assert.equal(from(HOP, { forwarded: 'for=6.6.6.6', forwardedFor: '203.0.113.9' }).address, HOP);
  assert.equal(from(HOP, { forwarded: 'for=203.0.113.9', forwardedFor: '203.0.113.9' }).address, '203.0.113.9');
  assert.equal(from(HOP, { forwarded: 'for=', forwardedFor: '203.0.113.9' }).address, HOP);
});

test('a host or scheme that is none is not passed on', () => {
  const client = from(HOP, { forwardedFor: '203.0.113.9', forwardedHost: 'a b"\r\n', forwardedProto: 'javascript' });
  assert.deepEqual([client.host, client.scheme], [null, 'http']);
});

test('the standard field is parsed strictly', () => {
  for (const bad of [
    '',
    ';',
    ',',
    'for',
    'for=',
    'for=a;',
    'for=a,',
    'for=a;;b=c',
    'for=a b',
    'for="a',
    'for=a;for=b',
    'for=[::1]',
    'f r=a',
  ]) {
    assert.equal(parseForwarded(bad), null, bad);
  }
  assert.deepEqual(
    parseForwarded('a=1;B="x\\"y,;" , c=2')?.map((element) => [...element]),
    [
      [
        ['a', '1'],
        ['b', 'x"y,;'],
      ],
      [['c', '2']],
    ],
  );
});

test('a range that is none is refused by name', () => {
  for (const bad of ['x', '10.0.0.0/33', '10.0.0.0/08', '10.0.0.0/8/8', '::/129', '10.0.0.0/']) {
    assert.throws(
      () => createTrusted([bad]),
      (error) => isFailure(error, 'invalid_input') && error.message.includes(bad),
    );
  }
});

test('whoever is behind trusted hops cannot choose an address by what they send', () => {
  const entry = fc.oneof(fc.ipV4(), fc.ipV6(), fc.string({ maxLength: 20 }), fc.constantFrom('10.1.1.1', 'unknown', ''));
  fc.assert(
    fc.property(
      fc.array(entry, { maxLength: 6 }),
      fc.array(fc.constantFrom('10.2.2.2', '192.0.2.7', '2001:db8::2'), { maxLength: 3 }),
      (spoofed, hops) => {
        // Each hop appends who talked to it, so the real client stands behind whatever the client has sent.
        const forwardedFor = [...spoofed.map((text) => text.replaceAll(',', '')), '203.0.113.9', ...hops].join(', ');
        assert.equal(from(HOP, { forwardedFor }).address, '203.0.113.9');
      },
    ),
  );
});

test('without trusted hops nothing is ever believed', () => {
  const nobody = createTrusted([]);
  fc.assert(
    fc.property(fc.ipV4(), fc.string(), fc.string(), (address, forwardedFor, forwarded) => {
      const client = clientOf({ address, scheme: 'https' }, { forwardedFor, forwarded }, nobody);
      assert.deepEqual(summary(client), [address, 'https', null, address]);
    }),
  );
});
