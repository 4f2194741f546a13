import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { createSeededRandom } from '../lib/id.ts';
import { listenOnLoopback, until } from './loopback-fixture.ts';
import { joinSocket } from './mux-join.ts';
import { createMux } from './mux.ts';
import type { Mux, MuxOptions } from './mux.ts';

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** A side over a connection. */
function muxOver(socket: Socket, odd: boolean, onOpen: MuxOptions['onOpen']): Mux {
  const mux = createMux({
    odd,
    clock: systemClock,
    onOpen,
    onClosed: () => undefined,
    carrier: { write: (bytes) => socket.write(bytes), close: () => socket.destroy() },
  });
  socket.setNoDelay(true);
  socket.on('data', (bytes: Buffer) => mux.push(bytes));
  socket.on('drain', () => mux.drained());
  socket.on('error', () => undefined);
  socket.on('close', () => mux.lost('the connection has ended'));
  return mux;
}

/** A way to `program`: client → listener → stream → program, as over a session. */
async function setUp(
  program: (socket: Socket) => void,
): Promise<{ readonly connect: () => Socket; readonly near: () => Mux; readonly stop: () => void }> {
  const there = await listenOnLoopback(program);
  const far = await listenOnLoopback((socket) => {
    muxOver(socket, false, (stream) => joinSocket(stream, net.connect({ ...there, allowHalfOpen: true }), systemClock));
  });
  const carrier = net.connect(far);
  await once(carrier, 'connect');
  const mux = muxOver(carrier, true, () => null);
  const entry = await listenOnLoopback((socket) => {
    const stream = mux.open('tcp', { onData: () => undefined, onEnd: () => undefined, onReset: () => undefined, onDrain: () => undefined });
    if (stream === null) return void socket.destroy();
    stream.observer = joinSocket(stream, socket, systemClock);
  });
  return {
    connect: () => net.connect({ host: entry.host, port: entry.port, allowHalfOpen: true }),
    near: () => mux,
    stop: () => {
      mux.close();
      for (const each of [there, far, entry]) each.end();
    },
  };
}

async function readAll(socket: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of socket) pieces.push(piece as Buffer); // no encoding is set
  return Buffer.concat(pieces);
}

test('a hundred connections of random sizes at once come back as they went', async () => {
  const { connect, near, stop } = await setUp((socket) => socket.pipe(socket));
  const random = createSeededRandom(11);
  const sizes = Array.from({ length: 100 }, () => Math.floor(random.next() ** 3 * 1_000_000));
  await Promise.all(
    sizes.map(async (size) => {
      const bytes = randomBytes(size);
      const socket = connect();
      socket.end(bytes);
      assert.equal(digest(await readAll(socket)), digest(bytes));
    }),
  );
  await until(() => near().streams === 0, 'all are over');
  stop();
});

test('a client that says all it has to say hears the answer to the end', async () => {
  const { connect, stop } = await setUp((socket) => {
    socket.resume();
    socket.on('end', () => socket.end('you have said all'));
  });
  const socket = connect();
  socket.end('that is it');
  assert.equal((await readAll(socket)).toString(), 'you have said all');
  stop();
});

test('what breaks on one side breaks the other', async () => {
  const accepted: Socket[] = [];
  const { connect, stop } = await setUp((socket) => void accepted.push(socket));
  const first = connect();
  await until(() => accepted.length === 1, 'it has arrived');
  accepted[0]?.resetAndDestroy();
  await assert.rejects(readAll(first), /ECONNRESET/u);
  const second = connect();
  await until(() => accepted.length === 2, 'the second has arrived');
  const broken = accepted[1] === undefined ? Promise.reject(new Error('none')) : readAll(accepted[1]);
  second.resetAndDestroy();
  await assert.rejects(broken, /ECONNRESET/u);
  stop();
});

test('a reader that stalls holds its writer back and nobody else', async () => {
  const { connect, stop } = await setUp((socket) => {
    let sent = 0;
    socket.once('data', (asked: Buffer) => {
      const total = Number(asked.toString());
      const more = (): void => {
        while (sent < total) {
          sent += 65_536;
          if (!socket.write(Buffer.alloc(65_536))) return;
        }
        socket.end();
      };
      socket.on('drain', more);
      more();
    });
  });
  const stalled = connect().pause();
  stalled.write(String(64 * 1024 * 1024));
  for (let times = 0; times < 20; times += 1) {
    const quick = connect();
    quick.write('655360');
    assert.equal((await readAll(quick)).length, 655_360);
    quick.destroy();
  }
  assert.ok(stalled.bytesRead < 8 * 1024 * 1024, `${stalled.bytesRead} bytes came to one that reads nothing`);
  assert.equal((await readAll(stalled)).length, 64 * 1024 * 1024);
  stalled.destroy();
  stop();
});

test('a connection that breaks while it ends is closed, in whichever moment of its end that is', { timeout: 10_000 }, async () => {
  const there = await listenOnLoopback((accepted) => void accepted.pause());
  const { near, stop } = await setUp(() => undefined);
  for (let turns = 0; turns < 6; turns += 1) {
    const socket = net.connect({ host: there.host, port: there.port, allowHalfOpen: true });
    await once(socket, 'connect');
    const stream = near().open('any', {
      onData: () => undefined,
      onEnd: () => undefined,
      onReset: () => undefined,
      onDrain: () => undefined,
    });
    assert.ok(stream !== null);
    const observer = joinSocket(stream, socket, systemClock);
    observer.onEnd();
    for (let turn = 0; turn < turns; turn += 1) await new Promise<void>((resolve) => process.nextTick(resolve));
    const closed = once(socket, 'close');
    observer.onReset('enough');
    await closed;
  }
  there.end();
  stop();
});
