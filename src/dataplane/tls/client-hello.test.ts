// Reading what a client says first: real ones of the TLS library, in pieces, broken, and garbage.

import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import tls from 'node:tls';
import { parseClientHello } from './client-hello.ts';

/** What the TLS library sends first. */
async function hello(options: tls.ConnectionOptions): Promise<Buffer> {
  const server = net.createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const accepted = once(server, 'connection') as Promise<[net.Socket]>;
  const client = tls.connect({ host: '127.0.0.1', port: address.port, ...options });
  client.on('error', () => undefined);
  const [socket] = await accepted;
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  client.destroy();
  server.close();
  return bytes;
}

/** The same message in records of `size` bytes each. */
function inRecords(bytes: Buffer, size: number): Buffer {
  const message = bytes.subarray(5);
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const piece = message.subarray(at, at + size);
    records.push(Buffer.of(22, 3, 1, piece.length >> 8, piece.length & 255), piece);
  }
  return Buffer.concat(records);
}

test('tells name and protocols, however the message is cut', async () => {
  const bytes = await hello({ servername: 'Shop.example.com', ALPNProtocols: ['h2', 'http/1.1'] });
  const expected = { serverName: 'Shop.example.com', protocols: ['h2', 'http/1.1'] };
  assert.deepEqual(parseClientHello(bytes), expected);
  assert.deepEqual(parseClientHello(Buffer.concat([bytes, Buffer.from('more')])), expected, 'what stands behind it');
  for (const size of [1, 3, 7, 100]) assert.deepEqual(parseClientHello(inRecords(bytes, size)), expected, `records of ${size}`);
  for (let length = 0; length < bytes.length; length += 1) assert.equal(parseClientHello(bytes.subarray(0, length)), 'more');
  assert.deepEqual(parseClientHello(await hello({ maxVersion: 'TLSv1.2' })), { serverName: null, protocols: [] });
});

test('what is none is none, at once and without an end', async () => {
  assert.equal(parseClientHello(Buffer.from('GET / HTTP/1.1\r\n')), null);
  assert.equal(parseClientHello(Buffer.of(22, 3, 1, 0, 0)), null, 'an empty record');
  assert.equal(parseClientHello(Buffer.of(22, 3, 1, 0, 1, 2)), null, 'another message');
  assert.equal(parseClientHello(Buffer.of(22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff)), null, 'too long');
  const bytes = await hello({ servername: 'shop.example.com', ALPNProtocols: ['h2'] });
  for (let round = 0; round < 20_000; round += 1) {
    const broken = Buffer.from(bytes);
    for (let index = randomInt(4); index >= 0; index -= 1) broken[randomInt(broken.length)] = randomInt(256);
    const read = parseClientHello(broken);
    assert.ok(read === null || read === 'more' || Array.isArray(read.protocols));
    parseClientHello(Buffer.concat([Buffer.of(22, 3, 1, 0, 200), randomBytes(200)]));
  }
});
