import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TapBatch } from '../../api/dataplane.ts';
import { createFakeClock } from '../../lib/clock.ts';
import { isFailure } from '../../lib/failure.ts';
import { createTaps } from './taps.ts';
import type { Taps, TapRequest } from './taps.ts';

const line = (id: string, at: number): string => JSON.stringify({ id, at: new Date(at).toISOString() });
const follow: TapRequest = { filter: {}, tail: 5, follow: true };

function setUp() {
  const clock = createFakeClock();
  const changes: number[] = [];
  const taps: Taps = createTaps(clock, () => changes.push(taps.wanted().length));
  const stop = new AbortController();
  const seen: string[] = [];
  const dropped: number[] = [];
  const watch = (request: TapRequest, edges: readonly string[]): Promise<void> =>
    (async () => {
      for await (const { data } of taps.watch(request, edges, stop.signal)) {
        seen.push(data.id);
        if (data.dropped > 0) dropped.push(data.dropped);
      }
    })();
  const batch = (edgeId: string, lines: readonly string[], more: Partial<TapBatch> = {}): boolean =>
    taps.take({ edgeId, tap: taps.wanted()[0]?.id ?? '', lines, dropped: 0, caughtUp: true, ...more });
  return { clock, taps, changes, stop, seen, dropped, watch, batch };
}

test('what the Edges had is merged by time when all have told it, then it goes on as it comes', async () => {
  const { clock, taps, changes, stop, seen, watch, batch } = setUp();
  const watching = watch(follow, ['one', 'two']);
  await clock.advance(0);
  assert.ok(batch('one', [line('a', 1), line('c', 3)]));
  await clock.advance(10);
  assert.deepEqual(seen, []);
  assert.ok(batch('two', [line('b', 2)]));
  await clock.advance(0);
  assert.deepEqual(seen, ['a', 'b', 'c']);
  assert.ok(batch('one', [line('d', 4)], { caughtUp: false }));
  await clock.advance(0);
  assert.deepEqual(seen, ['a', 'b', 'c', 'd']);
  const { id = '' } = taps.wanted()[0] ?? {};
  stop.abort();
  await clock.advance(0);
  await watching;
  assert.deepEqual(changes, [1, 0]);
  assert.equal(taps.take({ edgeId: 'one', tap: id, lines: [], dropped: 0, caughtUp: false }), false);
});

test('an Edge that says nothing is not waited for, and without following it ends with the last ones', async () => {
  const { clock, seen, watch, batch } = setUp();
  const watching = watch({ filter: {}, tail: 2, follow: false }, ['one', 'two']);
  await clock.advance(0);
  batch('one', [line('a', 1), line('b', 2), line('c', 3)]);
  await clock.advance(1_999);
  assert.deepEqual(seen, []);
  await clock.advance(1);
  await watching;
  assert.deepEqual(seen, ['b', 'c']);
});

test('a watcher that does not read costs bounded memory and is told how much it missed', async () => {
  const { clock, taps, stop, batch } = setUp();
  const stream = taps.watch(follow, [], stop.signal);
  const first = stream.next();
  await clock.advance(0);
  for (let index = 0; index < 10; index += 1) {
    batch(
      'one',
      Array.from({ length: 500 }, (_, at) => line(`${index}-${at}`, at)),
      { dropped: index === 0 ? 7 : 0 },
    );
  }
  const { value } = await first;
  // Three thousand of five thousand had no room, and seven were missing at the Edge.
  assert.equal(value?.data.dropped, 3_007);
  stop.abort();
  await stream.return(undefined);
  assert.deepEqual(taps.wanted(), []);
});

test('so many watch at once, and no more', async () => {
  const { clock, taps, stop, watch } = setUp();
  const watching = Array.from({ length: 16 }, () => watch(follow, []));
  await clock.advance(0);
  await assert.rejects(watch(follow, []), (error) => isFailure(error, 'rate_limited'));
  assert.equal(taps.wanted().length, 16);
  stop.abort();
  await clock.advance(0);
  await Promise.all(watching);
});
