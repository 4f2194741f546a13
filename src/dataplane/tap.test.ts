import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Tap, TapBatch } from '../api/dataplane.ts';
import { createFakeClock } from '../lib/clock.ts';
import type { RequestFilter } from '../model/request-filter.ts';
import { createTaps } from './tap.ts';

type Told = Omit<TapBatch, 'edgeId'>;

const line = (id: number, more: object = {}): string =>
  JSON.stringify({ id: String(id), app: 'shop', method: 'GET', path: '/', status: 200, durationMs: 1, ...more });
const tap = (id: string, more: Partial<Tap> = {}): Tap => ({ id, filter: {}, tail: 10, follow: true, ...more });
const idsOf = (told: readonly Told[], id: string): number[] =>
  told.filter((batch) => batch.tap === id).flatMap(({ lines }) => lines.map((text) => Number((JSON.parse(text) as { id: string }).id))); // made by line()

function setUp(answer: () => Promise<boolean> = () => Promise.resolve(true)) {
  const clock = createFakeClock();
  const told: Told[] = [];
  const taps = createTaps({
    clock,
    post: (batch) => {
      told.push(batch);
      return answer();
    },
  });
  return { clock, told, taps };
}

test('a watcher gets the last ones that match, says that this was all, and goes on with what comes', async () => {
  const { clock, told, taps } = setUp();
  for (let id = 0; id < 300; id += 1) taps.push(line(id));
  taps.want([tap('a', { tail: 3 })]);
  await clock.advance(0);
  assert.deepEqual(idsOf(told, 'a'), [297, 298, 299]);
  assert.deepEqual([told.length, told[0]?.caughtUp], [1, true]);
  taps.push(line(300));
  taps.push(line(301));
  assert.equal(told.length, 1, 'they gather');
  await clock.advance(100);
  assert.deepEqual(idsOf(told, 'a'), [297, 298, 299, 300, 301]);
  assert.equal(told.at(-1)?.caughtUp, false);
});

test('nobody gets what nobody wants any more', async () => {
  const { clock, told, taps } = setUp();
  taps.want([tap('a'), tap('b', { follow: false })]);
  await clock.advance(0);
  taps.want([]);
  taps.push(line(1));
  await clock.advance(1_000);
  assert.deepEqual(
    told.map(({ tap: id, lines }) => [id, lines.length]),
    [
      ['a', 0],
      ['b', 0],
    ],
  );
});

test('what cannot be told in time is dropped, counted, and the rest goes on in order', async () => {
  let release = (_wanted: boolean): void => undefined;
  const { clock, told, taps } = setUp(
    () =>
      new Promise((resolve) => {
        release = resolve;
      }),
  );
  taps.want([tap('a')]);
  await clock.advance(0);
  for (let id = 0; id < 1_500; id += 1) taps.push(line(id));
  for (let turn = 0; turn < 20; turn += 1) {
    release(true);
    await clock.advance(100);
  }
  const ids = idsOf(told, 'a');
  assert.deepEqual(
    ids,
    Array.from({ length: 1_000 }, (_, index) => index),
  );
  assert.equal(
    told.reduce((sum, { dropped }) => sum + dropped, 0),
    500,
  );
  assert.ok(told.every(({ lines }) => lines.length <= 200));
});

test('a watcher that control no longer knows, or that it cannot be told of, is forgotten', async () => {
  for (const answer of [() => Promise.resolve(false), () => Promise.reject(new Error('away'))]) {
    const { clock, told, taps } = setUp(answer);
    taps.want([tap('a')]);
    await clock.advance(0);
    taps.push(line(1));
    await clock.advance(1_000);
    assert.equal(told.length, 1);
  }
});

test('filters are asked one by one', async () => {
  const { clock, told, taps } = setUp();
  taps.push(line(1, { status: 503, method: 'POST', path: '/api/x', durationMs: 250, environment: 'production', route: 'shop.localhost/' }));
  taps.push(line(2, { app: 'other', status: 404 }));
  taps.push(line(3, { status: null }));
  const filters: [RequestFilter, number[]][] = [
    [{}, [1, 2, 3]],
    [{ app: 'shop' }, [1, 3]],
    [{ status: '5xx' }, [1]],
    [{ status: '404' }, [2]],
    [{ method: 'post' }, [1]],
    [{ path: '/api' }, [1]],
    [{ slowerThanMs: 200 }, [1]],
    [{ environment: 'production' }, [1]],
    [{ route: 'shop.localhost/' }, [1]],
    [{ app: 'shop', status: '404' }, []],
  ];
  taps.want(filters.map(([filter], index) => tap(`f${index}`, { filter, follow: false })));
  await clock.advance(0);
  for (const [index, [, expected]] of filters.entries())
    assert.deepEqual(idsOf(told, `f${index}`), expected, JSON.stringify(filters[index]));
});
