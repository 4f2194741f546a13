import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { after, test } from 'node:test';
import { createFakeClock, systemClock } from '../lib/clock.ts';
import { dialDirect } from './dial.ts';
import type { Target } from './dial.ts';
import { createProbe } from './probe.ts';

const servers: net.Server[] = [];
const sockets = new Set<net.Socket>();
after(() => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers) server.close();
});

async function listen(onData: (socket: net.Socket, text: string) => void): Promise<Target> {
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => onData(socket, String(chunk)));
  });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return { id: 't', nodeId: 'n', host: '127.0.0.1', port: typeof address === 'object' && address !== null ? address.port : 0 };
}

const probe = createProbe(dialDirect, systemClock);

test('a target that takes connections is there, one that refuses them is not', async () => {
  const there = await listen(() => undefined);
  assert.equal(await probe(there, null), true);
  const gone = await listen(() => undefined);
  servers.at(-1)?.close();
  assert.equal(await probe(gone, null), false);
  assert.equal(await probe(gone, '/healthz'), false);
});

test('a health check is asked as agents ask it, and its status decides', async () => {
  const asked: string[] = [];
  for (const [answer, alive] of [
    ['HTTP/1.1 200 OK\r\n\r\n', true],
    ['HTTP/1.0 302 Found\r\n\r\n', true],
    ['HTTP/1.1 503 Unavailable\r\n\r\n', false],
    ['HTTP/1.1 404 Not Found\r\n\r\n', false],
    ['SSH-2.0-nothing at all\r\n', false],
    ['', false],
  ] as const) {
    const target = await listen((socket, text) => {
      asked.push(text);
      socket.end(answer);
    });
    assert.equal(await probe(target, '/up?deep=1'), alive, answer);
    assert.equal(asked.at(-1)?.split('\r\n').slice(0, 2).join(' '), `GET /up?deep=1 HTTP/1.1 Host: 127.0.0.1:${target.port}`);
  }
});

test('an answer in pieces is put together', async () => {
  const target = await listen((socket) => {
    socket.write('HTTP/1.');
    setImmediate(() => socket.write('1 204 No Content\r\n\r\n'));
  });
  assert.equal(await probe(target, '/'), true);
});

test('a target that takes the question and says nothing is not well, after two seconds', async () => {
  const clock = createFakeClock();
  let heard = (): void => undefined;
  const asked = new Promise<void>((resolve) => void (heard = resolve));
  const target = await listen(() => heard());
  const answer = createProbe(dialDirect, clock)(target, '/');
  await asked;
  await clock.advance(2_000);
  assert.equal(await answer, false);
});

test('a target that speaks HTTP/2 alone is only connected to', async () => {
  const asked: string[] = [];
  const target = await listen((_socket, text) => void asked.push(text));
  assert.equal(await probe({ ...target, protocol: 'h2c' }, '/healthz'), true);
  assert.deepEqual(asked, []);
});
