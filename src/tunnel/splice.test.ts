import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { createFakeClock } from '../lib/clock.ts';
import type { Reader } from '../sys/reader.ts';
import { splice } from './splice.ts';
import { until } from './loopback-fixture.ts';

interface Side {
  readonly socket: Socket;
  /** What it has been given, one write at a time. */
  readonly taken: Buffer[];
  /** It has taken what it was given last. */
  release(): void;
  resets: number;
  reset(): void;
}

/** A connection whose other end takes nothing until it is told to. */
function createSide(): Side {
  const taken: Buffer[] = [];
  const done: (() => void)[] = [];
  const duplex = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _encoding, callback) => {
      taken.push(chunk);
      done.push(callback);
    },
    final: (callback) => callback(),
  });
  duplex.on('error', () => undefined);
  const side: Side = {
    // Of a socket only what a stream has is used here.
    socket: duplex as Socket,
    taken,
    release: () => done.shift()?.(),
    resets: 0,
    reset: () => {
      side.resets += 1;
      duplex.destroy();
    },
  };
  return side;
}

test('what was read is kept as it was, though its memory is used again while it waits to leave', async () => {
  const [peer, target] = [createSide(), createSide()];
  const reader: Reader = { onRead: () => undefined };
  splice({ peer, target, reader, end: 'half', first: Buffer.alloc(0), clock: createFakeClock() });
  const memory = Buffer.alloc(5);
  for (const text of ['first', 'later', 'last!']) {
    memory.write(text);
    reader.onRead(memory);
  }
  memory.fill('x');
  for (let times = 0; times < 3; times += 1) {
    peer.release();
    await until(() => peer.taken.length === Math.min(3, times + 2), 'the next piece leaves');
  }
  assert.deepEqual(peer.taken.map(String), ['first', 'later', 'last!']);
});

test('a side that takes no rest of what it was sent is let go in the end', async () => {
  const clock = createFakeClock();
  const [peer, target] = [createSide(), createSide()];
  splice({ peer, target, reader: { onRead: () => undefined }, end: 'half', first: Buffer.from('never taken'), clock });
  target.socket.push(null);
  peer.socket.push(null);
  await until(() => peer.socket.closed, 'all has been said, and the peer has closed');
  await clock.advance(9_000);
  assert.deepEqual([peer.resets, target.resets, target.socket.destroyed], [0, 0, false]);
  await clock.advance(1_000);
  assert.equal(target.resets, 1);
  assert.equal(target.socket.destroyed, true);
});
