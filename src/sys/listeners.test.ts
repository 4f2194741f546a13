import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { decodeAddress, describeListener, listListening } from './listeners.ts';

test('the kernel’s hexadecimal addresses are decoded', () => {
  const addresses: [string, string][] = [
    ['0100007F', '127.0.0.1'],
    ['00000000', '0.0.0.0'],
    ['00000000000000000000000000000000', '::'],
    ['00000000000000000000000001000000', '::1'],
    ['0000000000000000FFFF00000100007F', '127.0.0.1'],
    ['B80D01200000000067452301EFCDAB89', '2001:db8:0:0:123:4567:89ab:cdef'],
  ];
  for (const [hex, address] of addresses) assert.equal(decodeAddress(hex), address);
});

test('a listening socket is found with its process', async (t) => {
  const server = net.createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  assert.ok(listListening().some((socket) => socket.port === address.port && socket.address === '127.0.0.1'));
  assert.equal(describeListener(address.port)?.pid, process.pid);
});
