import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { crc32c, createProxyHeaderReader } from './proxy-protocol.ts';
import type { ProxyHeaderResult } from './proxy-protocol.ts';

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

function readAll(pieces: readonly Buffer[]): ProxyHeaderResult {
  const reader = createProxyHeaderReader();
  for (const [index, piece] of pieces.entries()) {
    const result = reader.push(piece);
    if (result.type === 'more') continue;
    // What was not pushed yet would go on to whoever reads the connection.
    if (result.type === 'header') return { ...result, rest: Buffer.concat([result.rest, ...pieces.slice(index + 1)]) };
    return result;
  }
  return { type: 'more' };
}

const read = (text: string | Buffer): ProxyHeaderResult => readAll([typeof text === 'string' ? Buffer.from(text, 'latin1') : text]);

function v2(family: number, body: Buffer, command = 1): Buffer {
  const start = Buffer.alloc(16);
  SIGNATURE.copy(start);
  start.writeUInt8(0x20 | command, 12);
  start.writeUInt8(family, 13);
  start.writeUInt16BE(body.length, 14);
  return Buffer.concat([start, body]);
}

const tlv = (type: number, value: Buffer): Buffer => Buffer.concat([Buffer.from([type, value.length >> 8, value.length & 0xff]), value]);

const V4 = Buffer.from([10, 0, 0, 1, 192, 168, 1, 2, 0x1f, 0x90, 0x01, 0xbb]);

test('the first version names both ends', () => {
  const result = read('PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\nGET /');
  assert.ok(result.type === 'header');
  assert.deepEqual(result.header, {
    version: 1,
    source: { address: '203.0.113.9', port: 56_324 },
    destination: { address: '10.0.0.1', port: 443 },
  });
  assert.equal(result.rest.toString(), 'GET /');
});

test('an IPv4 address in IPv6 form is an IPv4 address', () => {
  const first = read('PROXY TCP6 ::ffff:10.1.2.3 2001:DB8::1 1 2\r\n');
  assert.deepEqual(first.type === 'header' ? [first.header.source?.address, first.header.destination?.address] : first, [
    '10.1.2.3',
    '2001:db8::1',
  ]);
  const body = Buffer.alloc(36);
  body.writeUInt16BE(0xffff, 10);
  Buffer.from([10, 1, 2, 3]).copy(body, 12);
  body.writeUInt16BE(0x2001, 16);
  body.writeUInt16BE(0x0db8, 18);
  body.writeUInt16BE(1, 30);
  const second = read(v2(0x21, body));
  assert.deepEqual(second.type === 'header' ? [second.header.source?.address, second.header.destination?.address] : second, [
    '10.1.2.3',
    '2001:db8::1',
  ]);
});

test('a balancer that speaks for itself leaves the address of the socket', () => {
  for (const data of [
    Buffer.from('PROXY UNKNOWN\r\n'),
    Buffer.from('PROXY UNKNOWN ffff::1 x 1 2\r\n'),
    v2(0x00, Buffer.alloc(3)),
    v2(0x11, V4, 0),
  ]) {
    const result = read(data);
    assert.ok(result.type === 'header', data.toString('latin1'));
    assert.equal(result.header.source, null);
  }
});

test('the second version is read with its values and check sum', () => {
  const without = v2(0x11, Buffer.concat([V4, tlv(0x02, Buffer.from('shop.example')), tlv(0x03, Buffer.alloc(4))]));
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32c(without));
  const good = Buffer.concat([without.subarray(0, -4), sum]);
  const result = read(Buffer.concat([good, Buffer.from('rest')]));
  assert.ok(result.type === 'header');
  assert.deepEqual(result.header.source, { address: '10.0.0.1', port: 8080 });
  assert.equal(result.rest.toString(), 'rest');
  const bad = Buffer.from(good);
  bad.writeUInt8(11, 16);
  assert.equal(read(bad).type, 'refused');
  // The check value of RFC 3720 B.4 and of the usual test string.
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
  assert.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa);
});

test('what has two readings, or none, is refused', () => {
  const hostile: (string | Buffer)[] = [
    'GET / HTTP/1.1\r\n',
    'PROXY\r\n',
    'proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n',
    'PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n',
    'PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n',
    'PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n',
    'PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n',
    'PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n',
    'PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n',
    'PROXY TCP4 ::1 ::1 1 2\r\n',
    'PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n',
    'PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n',
    'PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n',
    'PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n',
    'PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n',
    'PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n',
    `PROXY UNKNOWN ${'x'.repeat(100)}\r\n`,
    Buffer.concat([SIGNATURE, Buffer.from([0x11, 0x11, 0, 12]), V4]),
    v2(0x11, V4, 2),
    v2(0x12, V4),
    v2(0x31, Buffer.alloc(216)),
    v2(0x11, V4.subarray(0, 11)),
    v2(0x21, V4),
    v2(0x11, Buffer.concat([V4, Buffer.from([1, 0])])),
    v2(0x11, Buffer.concat([V4, Buffer.from([1, 0, 9, 1])])),
    v2(0x11, Buffer.concat([V4, tlv(0x03, Buffer.alloc(3))])),
    v2(0x11, Buffer.concat([V4, Buffer.alloc(5_000)])),
  ];
  for (const message of hostile) assert.equal(read(message).type, 'refused', JSON.stringify(message.toString('latin1')));
});

const cut = (data: Buffer, at: readonly number[]): Buffer[] => {
  const places = [...new Set(at.map((place) => place % (data.length + 1)))].sort((a, b) => a - b);
  return [...places, data.length].map((place, index) => data.subarray(places[index - 1] ?? 0, place)).filter((piece) => piece.length > 0);
};

test('however the bytes are cut, the header and what follows are the same', () => {
  const address4 = fc.ipV4();
  const address6 = fc.ipV6().filter((text) => net.isIPv6(text));
  const port = fc.integer({ min: 0, max: 65_535 });
  const line = fc.oneof(
    fc.tuple(address4, address4, port, port).map(([a, b, c, d]) => `PROXY TCP4 ${a} ${b} ${c} ${d}\r\n`),
    fc.tuple(address6, address6, port, port).map(([a, b, c, d]) => `PROXY TCP6 ${a} ${b} ${c} ${d}\r\n`),
  );
  const binary = fc
    .tuple(fc.uint8Array({ minLength: 36, maxLength: 36 }), fc.uint8Array({ maxLength: 40 }))
    .map(([addresses, value]) => v2(0x21, Buffer.concat([addresses, tlv(0x05, Buffer.from(value))])));
  fc.assert(
    fc.property(
      fc.oneof(
        line.map((text) => Buffer.from(text)),
        binary,
      ),
      fc.uint8Array({ maxLength: 30 }),
      fc.array(fc.nat(400), { maxLength: 6 }),
      (header, behind, places) => {
        const whole = Buffer.concat([header, behind]);
        const expected = readAll([whole]);
        const found = readAll(cut(whole, places));
        assert.ok(expected.type === 'header' && found.type === 'header');
        assert.deepEqual(found.header, expected.header);
        assert.deepEqual(Buffer.from(found.rest), Buffer.from(behind));
        assert.ok(net.isIP(found.header.source?.address ?? '') !== 0);
      },
    ),
  );
});

test('any bytes are read to an end within the bound', () => {
  fc.assert(
    fc.property(fc.constantFrom('', 'PROXY TCP4 ', SIGNATURE.toString('latin1')), fc.uint8Array({ maxLength: 600 }), (start, bytes) => {
      const result = readAll(Array.from(Buffer.concat([Buffer.from(start, 'latin1'), bytes]), (byte) => Buffer.from([byte])));
      if (result.type === 'more') assert.ok(start.length + bytes.length < 16 + 4_096);
    }),
  );
});
