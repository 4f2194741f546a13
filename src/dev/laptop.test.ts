import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { isFailure } from '../lib/failure.ts';
import { until } from '../tunnel/loopback-fixture.ts';
import { runLaptop } from './laptop.ts';

const SWITCHED = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: libra-dev\r\n\r\n';

interface Running {
  /** Connections that were let in. */
  readonly sockets: Socket[];
  /** What it says in turn. */
  readonly said: string[];
  /** What every further one is answered. */
  answer(text: string): void;
  readonly ended: Promise<unknown>;
  stop(): Promise<void>;
}

/** A laptop beside something that lets it in, as an Edge does. */
async function start(): Promise<Running> {
  const sockets: Socket[] = [];
  const said: string[] = [];
  let answer = SWITCHED;
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      sockets.push(socket);
      socket.write(answer);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const stopping = new AbortController();
  const ended = runLaptop({
    gateway: { url: new URL(`http://127.0.0.1:${address.port}/_libra/dev`), credential: 'libra_dev_x', proxy: null },
    port: 1,
    clock: systemClock,
    signal: stopping.signal,
    onConnected: (again) => said.push(again ? 'again' : 'connected'),
    onLost: () => said.push('lost'),
  }).catch((error: unknown) => error);
  return {
    sockets,
    said,
    answer: (text) => {
      answer = text;
    },
    ended,
    stop: async () => {
      stopping.abort(new Error('enough'));
      await ended;
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

test('a connection that is lost is told once and made anew, and an end that was asked for is no loss', async () => {
  const laptop = await start();
  await until(() => laptop.said.length === 1, 'it is connected');
  laptop.sockets[0]?.destroy();
  await until(() => laptop.said.length === 3, 'it is connected again');
  await laptop.stop();
  assert.deepEqual(laptop.said, ['connected', 'lost', 'again']);
  await until(() => laptop.sockets.every((socket) => socket.closed), 'nothing is left open');
});

test('a session that has ended is tried for a little while and then given up', { timeout: 20_000 }, async () => {
  const laptop = await start();
  await until(() => laptop.said.length === 1, 'it is connected');
  laptop.answer('HTTP/1.1 401 Unauthorized\r\n\r\nIt has ended.\n');
  laptop.sockets[0]?.destroy();
  const error = await laptop.ended;
  assert.ok(isFailure(error, 'unauthenticated'));
  assert.equal(error.message, 'It has ended.');
  assert.deepEqual(laptop.said, ['connected', 'lost']);
  await laptop.stop();
});
