import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import * as fc from 'fast-check';
import type { table } from '../../api/table.ts';
import type { BodyOf, ParsedQueryOf, ReplyOf } from '../../api/endpoint.ts';
import { isFailure } from '../../lib/failure.ts';
import type { FailureCode } from '../../lib/failure.ts';
import type { Environment } from '../../model/documents.ts';
import { remove, update } from '../../store/records.ts';
import { environmentRecords, instanceSpecRecords } from '../deploys/records.ts';
import { owner } from '../test-context.ts';
import { callBy, createLibradFixture } from './librad-fixture.ts';
import type { LibradFixture } from './librad-fixture.ts';
import type { Place } from './place.ts';

type Kv = typeof table.kv;
type Put = BodyOf<Kv['put']>;

let fixture: LibradFixture;
let one: Place;
beforeEach(async () => {
  fixture = await createLibradFixture();
  one = fixture.callers.one;
});
afterEach(() => fixture.close());

const put = (key: string, body: Put | string, as = one): Promise<ReplyOf<Kv['put']>> =>
  fixture.librad.handlers.kv.put(
    callBy<Kv['put']>(as, {
      params: { key },
      query: undefined,
      body: { encoding: 'text', ...(typeof body === 'string' ? { value: body } : body) },
    }),
  );
const get = (key: string, as = one): Promise<ReplyOf<Kv['get']>> =>
  fixture.librad.handlers.kv.get(callBy<Kv['get']>(as, { params: { key }, query: undefined, body: undefined }));
const valueOf = async (key: string, as = one): Promise<string | null> =>
  await get(key, as).then(
    ({ value }) => value,
    (error: unknown) => {
      if (isFailure(error, 'not_found')) return null;
      throw error;
    },
  );
const del = async (key: string, query: ParsedQueryOf<Kv['delete']> = {}, as = one): Promise<boolean> =>
  (await fixture.librad.handlers.kv.delete(callBy<Kv['delete']>(as, { params: { key }, query, body: undefined }))).deleted;
const list = (query: Partial<ParsedQueryOf<Kv['list']>>, as = one): Promise<ReplyOf<Kv['list']>> =>
  fixture.librad.handlers.kv.list(
    callBy<Kv['list']>(as, { params: {}, query: { limit: 100, cursor: undefined, prefix: '', values: 'true', ...query }, body: undefined }),
  );
const usage = (as = one): Promise<ReplyOf<Kv['usage']>> =>
  fixture.librad.handlers.kv.usage(callBy<Kv['usage']>(as, { params: {}, query: undefined, body: undefined }));
const refused =
  (code: FailureCode) =>
  (error: unknown): boolean =>
    isFailure(error, code);

test('a value is what was put, for its own Environment alone, and never in the clear in the store', async () => {
  const made = await put('greeting', 'good morning');
  assert.equal(made.expiresAtMs, null);
  assert.equal(await valueOf('greeting', fixture.callers.two), 'good morning');
  assert.equal(await valueOf('greeting', fixture.callers.other), null);
  await put('bytes', { value: Buffer.from([0, 255, 10]).toString('base64'), encoding: 'base64' });
  assert.equal(await valueOf('bytes'), 'AP8K');
  const { entries } = await fixture.context.store.list({ prefix: 'kv/' });
  assert.equal(entries.length, 2);
  assert.ok(entries.every(({ value }) => !value.includes('morning')));
  assert.equal(await del('greeting'), true);
  assert.deepEqual([await del('greeting'), await valueOf('greeting')], [false, null]);
});

test('only Instances may call', async () => {
  const call = { params: { key: 'a' }, query: undefined, body: undefined, principal: owner };
  await assert.rejects(fixture.librad.handlers.kv.get(callBy<Kv['get']>(one, call)), refused('forbidden'));
});

test('compare-and-set takes only the version that is there, and every change makes another one', async () => {
  const first = await put('n', { value: '1', ifVersion: null });
  await assert.rejects(put('n', { value: '2', ifVersion: null }), refused('precondition_failed'));
  const second = await put('n', { value: '1', ifVersion: first.version });
  assert.notEqual(second.version, first.version, 'though the value is the same');
  await assert.rejects(put('n', { value: '3', ifVersion: first.version }), refused('precondition_failed'));
  await assert.rejects(del('n', { ifVersion: first.version }), refused('precondition_failed'));
  assert.equal(await del('n', { ifVersion: second.version }), true);
  await assert.rejects(put('n', { value: '4', ifVersion: second.version }), refused('precondition_failed'));
  const many = await Promise.allSettled(
    Array.from({ length: 20 }, (_unused, index) => put('n', { value: String(index), ifVersion: null })),
  );
  assert.equal(many.filter(({ status }) => status === 'fulfilled').length, 1);
});

test('what is no value, or too much, is refused', async () => {
  await assert.rejects(put('a', { value: 'not base64!', encoding: 'base64' }), refused('invalid_input'));
  await assert.rejects(put('a', '\ud800'), refused('invalid_input'));
  await assert.rejects(put('a', 'x'.repeat(4097)), refused('too_large'));
  await assert.rejects(del('a', { lock: 'l' }), refused('invalid_input'));
  for (const name of ['no spaces', 'nöne', '/', 'x'.repeat(201)]) await assert.rejects(put(name, 'x'), refused('invalid_input'), name);
});

test('lists are in the order of keys, in pages, with or without values', async () => {
  for (let index = 0; index < 90; index += 1) await put(`a:${String(index).padStart(3, '0')}`, String(index));
  await put('b', 'x');
  const keys: string[] = [];
  let pages = 0;
  for (let cursor: string | undefined; ;) {
    const page = await list({ prefix: 'a:', limit: 40, cursor });
    keys.push(...page.items.map(({ key }) => key));
    pages += 1;
    if (page.next === null) break;
    cursor = page.next;
  }
  assert.equal(pages, 3);
  assert.deepEqual(
    keys,
    Array.from({ length: 90 }, (_unused, index) => `a:${String(index).padStart(3, '0')}`),
  );
  const [bare] = (await list({ prefix: 'b', values: 'false' })).items;
  assert.deepEqual([bare?.key, bare?.value], ['b', null]);
  await assert.rejects(list({ cursor: 'bm9wZQ' }), refused('invalid_input'));
});

test('an Environment keeps so much and no more, however many ask at once; another one is not concerned', async () => {
  const many = await Promise.allSettled(Array.from({ length: 120 }, (_unused, index) => put(`k${index}`, 'v')));
  assert.equal(many.filter(({ status }) => status === 'fulfilled').length, 100);
  assert.ok(many.every((one) => one.status === 'fulfilled' || isFailure(one.reason, 'rate_limited')));
  assert.deepEqual(
    fixture.context.events.map(({ kind }) => kind),
    ['kv.full'],
    'people are told once',
  );
  await put('k1', 'changed', fixture.callers.two);
  await put('k1', 'there', fixture.callers.other);
  await del('k2');
  await put('new', 'v');
  const { keys, maxKeys, bytes } = await usage();
  assert.deepEqual([keys, maxKeys], [100, 100]);
  for (let index = 10; index < 25; index += 1) await put(`k${index}`, 'x'.repeat(4096)).catch(() => undefined);
  await assert.rejects(put('k30', 'x'.repeat(4096)), refused('rate_limited'));
  assert.ok((await usage()).bytes > bytes && (await usage()).bytes <= 64 * 1024);
  await put('k10', 'less is always taken');
});

test('what has lived its time is gone, to the millisecond; what was set anew lives on', async () => {
  const { clock } = fixture.context;
  const earlier: string[] = [];
  fixture.librad.onEarlier((name) => earlier.push(name));
  await fixture.pass('kv-expiry');
  await put('short', { value: 'x', ttlMs: 1000 });
  await put('long', { value: 'x', ttlMs: 5000 });
  await put('renewed', { value: 'x', ttlMs: 1000 });
  await put('stays', { value: 'x', ttlMs: 1000 });
  assert.deepEqual(earlier, ['kv-expiry'], 'it is woken for the first, which ends before the others');
  assert.equal(await fixture.pass('kv-expiry'), 1000);
  await clock.advance(999);
  assert.equal(await fixture.pass('kv-expiry'), 1);
  await put('renewed', { value: 'y', ttlMs: 1000 });
  await put('stays', 'y');
  await clock.advance(1);
  assert.equal(await fixture.pass('kv-expiry'), 999);
  assert.deepEqual(
    (await list({})).items.map(({ key }) => key),
    ['long', 'renewed', 'stays'],
  );
  assert.equal((await usage()).keys, 3);
  await clock.advance(100_000);
  assert.equal(await fixture.pass('kv-expiry'), undefined);
  assert.deepEqual(
    (await list({})).items.map(({ key }) => key),
    ['stays'],
  );
  assert.deepEqual((await fixture.context.store.list({ prefix: 'kv-expiries/' })).entries, []);
});

test('a write that names a lock counts only while it is held under that fence', async () => {
  const { locks } = fixture.librad.handlers;
  const take = (lease: string, as: Place) =>
    locks.acquire(
      callBy<(typeof table.locks)['acquire']>(as, {
        params: { lock: 'leader' },
        query: undefined,
        body: { lease, ttlMs: 1000, waitMs: 0, value: '' },
      }),
    );
  await fixture.pass('lock-expiry');
  const { fence } = await take('lease-of-the-first', one);
  await put('state', { value: '1', lock: { name: 'leader', fence } });
  await fixture.context.clock.advance(1000);
  await fixture.pass('lock-expiry');
  await assert.rejects(put('state', { value: '2', lock: { name: 'leader', fence } }), refused('precondition_failed'));
  const next = await take('lease-of-the-second', fixture.callers.two);
  assert.ok(next.fence > fence);
  await assert.rejects(put('state', { value: '2', lock: { name: 'leader', fence } }), refused('precondition_failed'));
  await assert.rejects(del('state', { lock: 'leader', fence }), refused('precondition_failed'));
  await put('state', { value: '3', lock: { name: 'leader', fence: next.fence } });
  assert.equal(await valueOf('state'), '3');
});

interface Watching {
  readonly told: string[];
  readonly ids: (string | null)[];
  /** Resolves when so many have been told. */
  until(count: number): Promise<void>;
  /** Resolves when the stream has ended by itself. */
  readonly ended: Promise<void>;
  stop(): Promise<void>;
}

function watching(query: ParsedQueryOf<Kv['watch']>, lastEventId: string | null = null, as = one): Watching {
  const over = new AbortController();
  const told: string[] = [];
  const ids: (string | null)[] = [];
  let wake = (): void => undefined;
  const stream = fixture.librad.handlers.kv.watch(
    callBy<Kv['watch']>(as, { params: {}, query, body: undefined, lastEventId, signal: over.signal }),
  );
  const running = (async () => {
    for await (const { id, data } of stream) {
      told.push(data.kind === 'put' ? `${data.key}=${data.value}` : data.kind === 'delete' ? `-${data.key}` : 'synced');
      ids.push(id);
      wake();
    }
  })();
  running.catch(() => wake());
  return {
    told,
    ids,
    ended: running,
    until: async (count) => {
      while (told.length < count) {
        await Promise.race([
          running.then(() => assert.fail('the stream has ended')),
          new Promise<void>((resolve) => {
            wake = resolve;
          }),
        ]);
      }
    },
    stop: async () => {
      over.abort();
      await running;
    },
  };
}

test('a watcher is told what there is and then every change once; with an id it goes on where it was', async () => {
  await put('a:1', 'x');
  await put('a:2', 'y');
  await put('b', 'z');
  const first = watching({ prefix: 'a:' });
  await first.until(3);
  await put('a:1', 'changed');
  await put('b', 'of no interest');
  await del('a:2');
  await first.until(5);
  await first.stop();
  assert.deepEqual(first.told, ['a:1=x', 'a:2=y', 'synced', 'a:1=changed', '-a:2']);
  assert.deepEqual(first.ids.slice(0, 2), [null, null], 'nothing to go on from before all is told');
  assert.doesNotMatch(Buffer.from(first.ids[3] ?? '', 'base64url').toString('latin1'), /^\d/u);
  await put('a:3', 'new');
  const second = watching({ prefix: 'a:' }, first.ids[3] ?? null);
  await second.until(3);
  await second.stop();
  assert.deepEqual(second.told, ['-a:2', 'a:3=new', 'synced']);
  const single = watching({ prefix: '', key: 'a:1' });
  await single.until(2);
  await put('a:10', 'another key');
  await put('a:1', 'again');
  await single.until(3);
  await single.stop();
  assert.deepEqual(single.told, ['a:1=changed', 'synced', 'a:1=again']);
});

test('an id of another Environment, of another history or of long ago is compacted', async () => {
  await put('a', 'x');
  const first = watching({ prefix: '' });
  await first.until(2);
  await first.stop();
  const id = first.ids[1] ?? null;
  assert.ok(id);
  const { other } = fixture.callers;
  await assert.rejects(watching({ prefix: '' }, id, other).until(1), refused('compacted'));
  await assert.rejects(watching({ prefix: '' }, `${id.slice(0, -4)}AAAA`).until(1), refused('compacted'));
  // The view is read anew, and the store has forgotten what came before.
  fixture.context.feed.restart(fixture.context.view.revision + 1);
  await put('b', 'y');
  const late = watching({ prefix: '' }, id);
  await late.until(1);
  await late.stop();
  assert.deepEqual(late.told.slice(0, 1), ['b=y'], 'what this process does not remember, the store does');
});

test('a watch ends with its Instance, and there are not too many', async () => {
  const watch = watching({ prefix: '' });
  await watch.until(1);
  const spec = fixture.context.view.get(instanceSpecRecords, one.instanceId);
  assert.ok(spec);
  await fixture.context.view.commit(remove(instanceSpecRecords, spec));
  await put('a', 'x', fixture.callers.two);
  await watch.ended;
  assert.deepEqual(watch.told, ['synced']);
  const many = Array.from({ length: 250 }, () => watching({ prefix: '' }, null, fixture.callers.two));
  await Promise.all(many.map((each) => each.until(1)));
  await assert.rejects(watching({ prefix: '' }, null, fixture.callers.two).until(1), refused('rate_limited'));
  await Promise.all(many.map((each) => each.stop()));
});

test('what an Environment kept goes with it, also what was written last', async () => {
  const { context, callers } = fixture;
  await put('a', 'x', callers.other);
  await put('b', { value: 'x', ttlMs: 100_000 }, callers.other);
  await put('a', 'stays');
  await fixture.pass('librad-left-over');
  const stored = context.view.get(environmentRecords, 'environment-2');
  assert.ok(stored);
  await context.view.commit(update<Environment>(environmentRecords, stored, { ...stored.document, state: 'deleting' }));
  await assert.rejects(put('c', 'x', callers.other), refused('conflict'));
  const deleting = context.view.get(environmentRecords, 'environment-2');
  assert.ok(deleting);
  await context.view.commit(remove(environmentRecords, deleting));
  await fixture.pass('librad-left-over');
  const keys = async (prefix: string) => (await context.store.list({ prefix })).entries.map(({ key }) => key);
  assert.deepEqual([await keys('kv/'), await keys('kv-expiries/')], [['kv/environment-1/a'], []]);
});

test('as a map does, whatever is done to it, and its use is what it holds', async () => {
  const key = fc.constantFrom('a', 'b', 'c:1', 'c:2', '~');
  const value = fc.string({ maxLength: 40 }).filter((text) => text.isWellFormed());
  const step = fc.oneof(
    fc.record({ do: fc.constant('put' as const), key, value, ttlMs: fc.option(fc.integer({ min: 1000, max: 5000 }), { nil: undefined }) }),
    fc.record({ do: fc.constant('swap' as const), key, value, isStale: fc.boolean() }),
    fc.record({ do: fc.constant('delete' as const), key }),
    fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 3000 }) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const own = await createLibradFixture();
      const before = fixture;
      fixture = own;
      try {
        const model = new Map<string, { value: string; version: string; endsMs: number }>();
        for (const one of steps) {
          if (one.do === 'put') {
            const { version } = await put(one.key, { value: one.value, ttlMs: one.ttlMs });
            model.set(one.key, { value: one.value, version, endsMs: own.context.clock.now() + (one.ttlMs ?? Number.POSITIVE_INFINITY) });
          } else if (one.do === 'swap') {
            const known = model.get(one.key);
            const ifVersion = one.isStale ? 'another' : (known?.version ?? null);
            const result = await put(one.key, { value: one.value, ifVersion }).catch((error: unknown) => {
              assert.ok(isFailure(error, 'precondition_failed') && one.isStale);
              return null;
            });
            if (result !== null) model.set(one.key, { value: one.value, version: result.version, endsMs: Number.POSITIVE_INFINITY });
          } else if (one.do === 'delete') assert.equal(await del(one.key), model.delete(one.key));
          else {
            await own.context.clock.advance(one.ms);
            await own.pass('kv-expiry');
            for (const [name, { endsMs }] of model) if (endsMs <= own.context.clock.now()) model.delete(name);
          }
        }
        const { items } = await list({});
        assert.deepEqual(
          items.map((item) => [item.key, item.value, item.version]),
          [...model].map(([name, { value: text, version }]) => [name, text, version]).toSorted(([a = ''], [b = '']) => (a < b ? -1 : 1)),
        );
        const bytes = [...model].reduce((sum, [name, { value: text }]) => sum + name.length + Buffer.byteLength(text), 0);
        const counted = await usage();
        assert.deepEqual([counted.keys, counted.bytes], [model.size, bytes]);
      } finally {
        fixture = before;
        await own.close();
      }
    }),
    { numRuns: 60 },
  );
});
