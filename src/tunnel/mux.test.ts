import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createFakeClock, systemClock } from '../lib/clock.ts';
import type { Clock } from '../lib/clock.ts';
import { createSeededRandom } from '../lib/id.ts';
import { until } from './loopback-fixture.ts';
import { FRAME, frameHead, shortFrame } from './mux-frames.ts';
import { createMux } from './mux.ts';
import type { Mux, MuxLimits, MuxOptions } from './mux.ts';
import type { MuxStream, StreamObserver } from './mux-stream.ts';

interface Side {
  readonly mux: Mux;
  /** Why it was closed, in turn. */
  readonly closed: (string | null)[];
  readonly goneAway: string[];
}

interface Pair {
  readonly a: Side;
  readonly b: Side;
  /** Bytes that are on their way. */
  underWay(): number;
}

interface PairOptions {
  readonly onOpen: MuxOptions['onOpen'];
  readonly clock?: Clock;
  readonly limits?: Partial<MuxLimits>;
  /** How the bytes of one write are cut up. */
  readonly cut?: (bytes: Buffer) => readonly Buffer[];
}

const nobody: StreamObserver = { onData: () => undefined, onEnd: () => undefined, onReset: () => undefined, onDrain: () => undefined };

/** Two sides whose bytes take a turn of the loop to arrive; a carrier is full while more than 64 KiB are on their way. */
function pair({ onOpen, clock = systemClock, limits = {}, cut = (bytes): readonly Buffer[] => [bytes] }: PairOptions): Pair {
  let underWay = 0;
  const make = (odd: boolean, other: () => Side, onOpenHere: MuxOptions['onOpen']): Side => {
    const closed: (string | null)[] = [];
    const goneAway: string[] = [];
    let waiting = 0;
    const mux = createMux({
      odd,
      clock,
      limits,
      onOpen: onOpenHere,
      onGoAway: (why) => goneAway.push(why),
      onClosed: (why) => closed.push(why),
      carrier: {
        write: (bytes) => {
          waiting += bytes.length;
          underWay += bytes.length;
          setImmediate(() => {
            for (const piece of cut(Buffer.from(bytes))) other().mux.push(piece);
            const wasFull = waiting >= 65_536;
            waiting -= bytes.length;
            underWay -= bytes.length;
            if (wasFull && waiting < 65_536) mux.drained();
          });
          return waiting < 65_536;
        },
        close: () => setImmediate(() => other().mux.lost('the other side has closed')),
      },
    });
    return { mux, closed, goneAway };
  };
  const a: Side = make(
    true,
    () => b,
    () => null,
  );
  const b: Side = make(false, () => a, onOpen);
  return { a, b, underWay: () => underWay };
}

/** Says back what comes, no faster than it is taken. */
function echo(stream: MuxStream): StreamObserver {
  let held = 0;
  return {
    onData: (bytes) => {
      if (stream.write(Buffer.from(bytes)) && held === 0) stream.consumed(bytes.length);
      else held += bytes.length;
    },
    onDrain: () => {
      const bytes = held;
      held = 0;
      stream.consumed(bytes);
    },
    onEnd: () => stream.end(),
    onReset: () => undefined,
  };
}

const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Says the pieces, ends, and resolves to what came back. */
function talk(mux: Mux, pieces: readonly Buffer[]): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const got: Buffer[] = [];
    let next = 0;
    const more = (): void => {
      while (next < pieces.length) {
        const piece = pieces[next] ?? Buffer.alloc(0);
        next += 1;
        if (stream?.write(piece) === false) return;
      }
      stream?.end();
    };
    const stream = mux.open('echo', {
      onData: (bytes) => {
        got.push(Buffer.from(bytes));
        stream?.consumed(bytes.length);
      },
      onEnd: () => resolve(Buffer.concat(got)),
      onReset: (why) => reject(new Error(why)),
      onDrain: more,
    });
    if (stream === null) reject(new Error('no stream'));
    more();
  });
}

test('whatever is said on many streams at once, in whatever pieces it arrives, comes back as it was', async () => {
  const random = createSeededRandom(7);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(fc.integer({ min: 1, max: 90_000 }), { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 8 }),
      fc.oneof(fc.integer({ min: 20, max: 200 }), fc.integer({ min: 200, max: 70_000 })),
      async (streams, mostCut) => {
        const cut = (bytes: Buffer): readonly Buffer[] => {
          const pieces: Buffer[] = [];
          for (let at = 0; at < bytes.length;) {
            const to = at + 1 + Math.floor(random.next() * mostCut);
            pieces.push(bytes.subarray(at, to));
            at = to;
          }
          return pieces;
        };
        const { a, b, underWay } = pair({ onOpen: echo, cut });
        await Promise.all(
          streams.map(async (sizes) => {
            const pieces = sizes.map((size) => randomBytes(size));
            assert.equal(digest(await talk(a.mux, pieces)), digest(Buffer.concat(pieces)));
          }),
        );
        await until(() => underWay() === 0, 'all has arrived');
        assert.deepEqual([a.mux.streams, b.mux.streams, a.closed, b.closed], [0, 0, [], []]);
        a.mux.close();
      },
    ),
    { numRuns: 15 },
  );
});

test('a stream whose reader takes nothing keeps no more than its window, and the others go on', async () => {
  let heldBytes = 0;
  const stalled: MuxStream[] = [];
  const { a } = pair({
    onOpen: (stream) => {
      if (stream.kind !== 'stalled') return echo(stream);
      stalled.push(stream);
      return { ...nobody, onData: (bytes) => void (heldBytes += bytes.length) };
    },
  });
  let saidBytes = 0;
  const fill = (): void => {
    while (stream?.write(Buffer.alloc(10_000)) === true) saidBytes += 10_000;
  };
  const stream = a.mux.open('stalled', { ...nobody, onDrain: fill });
  fill();
  const said = Buffer.alloc(1_000_000, 'x');
  for (let times = 0; times < 5; times += 1) assert.equal((await talk(a.mux, [said])).length, said.length);
  assert.equal(heldBytes, 64 * 1024);
  assert.ok(saidBytes < 256 * 1024, `${saidBytes} bytes were let in`);
  // A reader that takes it after all gets the rest.
  const before = saidBytes;
  stalled[0]?.consumed(heldBytes);
  await until(() => saidBytes > before, 'more was let in');
  a.mux.close();
});

test('a window grows for a reader that keeps up, within what all have together, and is given back', async () => {
  const most: number[] = [];
  const sink = (stream: MuxStream): StreamObserver => ({
    ...nobody,
    onData: (bytes) => stream.consumed(bytes.length),
    onEnd: () => {
      most.push(stream.grown);
      stream.end();
    },
  });
  const { a, b } = pair({ onOpen: sink, limits: { growthBytes: 300_000 } });
  const say = (): Promise<void> =>
    new Promise((resolve) => {
      const stream = a.mux.open('sink', { ...nobody, onEnd: resolve, onDrain: () => more() });
      let left = 100;
      const more = (): void => {
        for (; left > 0; left -= 1) if (stream?.write(Buffer.alloc(50_000)) === false) return void (left -= 1);
        stream?.end();
      };
      more();
    });
  await say();
  assert.deepEqual(most, [300_000]);
  await say();
  assert.deepEqual(most, [300_000, 300_000]);
  await until(() => b.mux.streams === 0, 'both are over');
  a.mux.close();
});

test('each direction ends by itself, and a reset is heard once', async () => {
  const heard: string[] = [];
  const opened: MuxStream[] = [];
  const { a, b } = pair({
    onOpen: (stream) => {
      opened.push(stream);
      return {
        ...nobody,
        onData: (bytes) => {
          heard.push(`${stream.kind}: ${bytes.toString()}`);
          stream.consumed(bytes.length);
        },
        onEnd: () => heard.push(`${stream.kind} ended`),
        onReset: (why) => heard.push(`${stream.kind} broke: ${why}`),
      };
    },
  });
  const first = a.mux.open('first', {
    ...nobody,
    onData: (bytes) => heard.push(`back: ${bytes.toString()}`),
    onEnd: () => heard.push('back ended'),
  });
  first?.write(Buffer.from('hello'));
  first?.end();
  first?.write(Buffer.from('never said'));
  await until(() => heard.includes('first ended'), 'the end is heard');
  assert.equal(b.mux.streams, 1);
  opened[0]?.write(Buffer.from('still here'));
  opened[0]?.end();
  await until(() => heard.includes('back ended'), 'the other end is heard');
  assert.deepEqual([a.mux.streams, b.mux.streams], [0, 0]);
  const second = a.mux.open('second', nobody);
  second?.reset('enough');
  second?.reset('again');
  await until(() => heard.includes('second broke: enough'), 'the reset is heard');
  assert.deepEqual(heard, ['first: hello', 'first ended', 'back: still here', 'back ended', 'second broke: enough']);
  a.mux.close();
});

test('what nobody takes is refused, and so is a stream too many', async () => {
  const resets: string[] = [];
  const { a } = pair({ onOpen: (stream) => (stream.kind === 'odd' ? null : nobody), limits: { streams: 2 } });
  a.mux.open('odd', { ...nobody, onReset: (why) => resets.push(why) });
  await until(() => resets.length === 1, 'it is refused');
  assert.deepEqual(resets, ['nobody takes such a stream']);
  assert.ok(a.mux.open('one', nobody) !== null && a.mux.open('two', nobody) !== null);
  assert.equal(a.mux.open('three', nobody), null);
  a.mux.close();
});

test('who goes away takes no new streams, and what there is goes on', async () => {
  const { a, b } = pair({ onOpen: echo });
  const going = talk(a.mux, [Buffer.alloc(500_000)]);
  b.mux.goAway('a restart');
  await until(() => a.goneAway.length === 1, 'it is heard');
  assert.deepEqual(a.goneAway, ['a restart']);
  assert.equal(a.mux.open('late', nobody), null);
  assert.equal((await going).length, 500_000);
  a.mux.close();
});

test('with its connection every stream breaks, on both sides', async () => {
  const heard: string[] = [];
  const observer = (name: string): StreamObserver => ({ ...nobody, onReset: (why) => heard.push(`${name}: ${why}`) });
  const { a, b } = pair({ onOpen: () => observer('there') });
  a.mux.open('any', observer('here'));
  await until(() => b.mux.streams === 1, 'it is open');
  a.mux.close();
  await until(() => b.closed.length === 1, 'the other side hears of it');
  assert.deepEqual(heard, ['here: the connection was closed', 'there: the other side has closed']);
  assert.deepEqual([a.closed, b.closed], [[null], ['the other side has closed']]);
});

/** A side alone, whose other one is played by the test. */
function lone(clock: Clock): { readonly mux: Mux; readonly closed: (string | null)[]; readonly written: Buffer[] } {
  const closed: (string | null)[] = [];
  const written: Buffer[] = [];
  const carrier = { write: (bytes: Buffer): boolean => written.push(bytes) > 0, close: (): void => undefined };
  return { mux: createMux({ odd: true, clock, onOpen: () => null, onClosed: (why) => closed.push(why), carrier }), closed, written };
}

test('who says nothing is given up in time', async () => {
  const clock = createFakeClock();
  const { mux, closed, written } = lone(clock);
  for (let beats = 0; beats < 10; beats += 1) {
    await clock.advance(400);
    await new Promise(setImmediate);
    mux.push(shortFrame(FRAME.pong, 0));
  }
  assert.deepEqual([closed, mux.roundTripMs, written.length], [[], 0, 10]);
  await clock.advance(1_200);
  assert.deepEqual(closed, []);
  await clock.advance(400);
  assert.deepEqual(closed, ['nothing came for 1400 ms']);
});

test('a side that slept itself listens before it gives the other one up', async () => {
  const fake = createFakeClock();
  let sleptMs = 0;
  const { mux, closed } = lone({ ...fake, monotonic: () => fake.monotonic() + sleptMs });
  sleptMs = 60_000;
  await fake.advance(400);
  assert.deepEqual(closed, []);
  mux.push(shortFrame(FRAME.ping, 0));
  await fake.advance(1_200);
  assert.deepEqual(closed, []);
  sleptMs = 120_000;
  await fake.advance(800);
  assert.deepEqual(closed, ['nothing came for 1400 ms']);
});

test('garbage ends the connection and nothing else, however it is cut', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 }), (pieces) => {
      const closed: (string | null)[] = [];
      const mux = createMux({
        odd: true,
        clock: createFakeClock(),
        onOpen: () => nobody,
        onClosed: (why) => closed.push(why),
        carrier: { write: () => true, close: () => undefined },
      });
      mux.open('any', nobody);
      for (const piece of pieces) mux.push(Buffer.from(piece));
      assert.ok(closed.length <= 1 && mux.streams <= 512);
    }),
    { numRuns: 500 },
  );
});

test('valid frames in any order keep within all bounds', () => {
  const id = fc.integer({ min: 0, max: 9 });
  const frame = fc.oneof(
    fc.record({ kind: fc.constantFrom(FRAME.open, FRAME.end, FRAME.reset, FRAME.ping, FRAME.pong, FRAME.goAway), id }),
    fc.record({ kind: fc.constant(FRAME.window), id, more: fc.integer({ min: 0, max: 2 ** 32 - 1 }) }),
    fc.record({ kind: fc.constant(FRAME.data), id, bytes: fc.integer({ min: 0, max: 65_536 }) }),
  );
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 200 }), (frames) => {
      let heldBytes = 0;
      let heardAfter = false;
      const closed: (string | null)[] = [];
      const mux = createMux({
        odd: true,
        clock: createFakeClock(),
        limits: { streams: 4 },
        onOpen: (stream) => {
          let over = false;
          const end = (): void => void (over = true);
          return {
            ...nobody,
            onData: (bytes) => {
              heardAfter ||= over || stream.over;
              heldBytes += bytes.length;
            },
            onReset: end,
            onEnd: end,
          };
        },
        onClosed: (why) => closed.push(why),
        carrier: { write: () => true, close: () => undefined },
      });
      for (const each of frames) {
        if ('more' in each) mux.push(shortFrame(each.kind, each.id, each.more));
        else if ('bytes' in each) mux.push(Buffer.concat([frameHead(each.kind, each.id, each.bytes), Buffer.alloc(each.bytes)]));
        else mux.push(shortFrame(each.kind, each.id, 'x'));
        assert.ok(mux.streams <= 4);
      }
      assert.ok(closed.length <= 1 && !heardAfter);
      // Each of the four other ids has its window, and nobody has taken anything.
      assert.ok(heldBytes <= 5 * 64 * 1024);
    }),
    { numRuns: 500 },
  );
});

test('who asks and does not listen is let go', () => {
  const closed: (string | null)[] = [];
  const mux = createMux({
    odd: true,
    clock: createFakeClock(),
    onOpen: () => null,
    onClosed: (why) => closed.push(why),
    carrier: { write: () => false, close: () => undefined },
  });
  const ping = shortFrame(FRAME.ping, 0);
  for (let times = 0; closed.length === 0 && times < 100_000; times += 1) mux.push(ping);
  assert.deepEqual(closed, ['it asks and does not listen']);
});
