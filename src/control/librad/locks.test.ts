import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { table } from '../../api/table.ts';
import type { ReplyOf } from '../../api/endpoint.ts';
import { isFailure } from '../../lib/failure.ts';
import type { FailureCode } from '../../lib/failure.ts';
import { remove } from '../../store/records.ts';
import { environmentRecords } from '../deploys/records.ts';
import { callBy, createLibradFixture } from './librad-fixture.ts';
import type { LibradFixture } from './librad-fixture.ts';
import type { Librad } from './librad.ts';
import type { Place } from './place.ts';

type Locks = typeof table.locks;
type Held = ReplyOf<Locks['acquire']>;

let fixture: LibradFixture;
let one: Place;
let two: Place;
beforeEach(async () => {
  fixture = await createLibradFixture();
  ({ one, two } = fixture.callers);
});
afterEach(() => fixture.close());

interface Wanted {
  readonly ttlMs?: number;
  readonly waitMs?: number;
  readonly value?: string;
  readonly lock?: string;
  readonly signal?: AbortSignal;
  readonly librad?: Librad;
}

const leaseOf = ({ instanceId }: Place): string => `lease-of-${instanceId}`;
const acquire = (
  as: Place,
  { lock = 'leader', signal, librad = fixture.librad, ...body }: Wanted = {},
  lease = leaseOf(as),
): Promise<Held> =>
  librad.handlers.locks.acquire(
    callBy<Locks['acquire']>(as, {
      params: { lock },
      query: undefined,
      body: { lease, ttlMs: 10_000, waitMs: 0, value: '', ...body },
      ...(signal === undefined ? {} : { signal }),
    }),
  );
const renew = (
  as: Place,
  body: { readonly value?: string; readonly ttlMs?: number } = {},
  librad = fixture.librad,
): Promise<ReplyOf<Locks['renew']>> =>
  librad.handlers.locks.renew(
    callBy<Locks['renew']>(as, { params: { lock: 'leader' }, query: undefined, body: { lease: leaseOf(as), ...body } }),
  );
const release = async (as: Place): Promise<boolean> =>
  (
    await fixture.librad.handlers.locks.release(
      callBy<Locks['release']>(as, { params: { lock: 'leader' }, query: undefined, body: { lease: leaseOf(as) } }),
    )
  ).released;
const holder = async (as = one, lock = 'leader'): Promise<string | null> => {
  const reply = await fixture.librad.handlers.locks.get(callBy<Locks['get']>(as, { params: { lock }, query: undefined, body: undefined }));
  return reply.holder === null ? null : `${reply.holder.instance} ${reply.holder.value}`.trim();
};
const refused =
  (code: FailureCode) =>
  (error: unknown): boolean =>
    isFailure(error, code);
/** Lets what is under way come to rest. */
const settle = (): Promise<void> => fixture.context.clock.advance(0);

test('one holds it, the others are told who; given back it is taken under a greater fence', async () => {
  const first = await acquire(one, { value: 'http://one' });
  await assert.rejects(acquire(two), refused('conflict'));
  assert.equal(await holder(two), 'instance-1 http://one');
  assert.equal(await holder(fixture.callers.other), null, 'of another Environment');
  assert.deepEqual([await release(two), await release(one), await release(one)], [false, true, false]);
  assert.equal(await holder(), null);
  const second = await acquire(two);
  const elsewhere = await acquire(one, { lock: 'other' });
  assert.ok(first.fence < second.fence && second.fence < elsewhere.fence);
});

test('whoever repeats its call under its lease holds what it held', async () => {
  const first = await acquire(one);
  const again = await acquire(one, { value: 'changed' });
  assert.equal(again.fence, first.fence);
  assert.equal(await holder(), 'instance-1 changed');
  await assert.rejects(acquire(one, {}, 'another-lease-of-the-same'), refused('conflict'));
});

test('a lease that is not renewed ends to the millisecond, one that is goes on', async () => {
  const { clock } = fixture.context;
  await fixture.pass('lock-expiry');
  await acquire(one, { ttlMs: 1000 });
  assert.equal(await fixture.pass('lock-expiry'), 1000);
  await clock.advance(900);
  await renew(one, { value: 'still here' });
  await clock.advance(999);
  assert.equal(await fixture.pass('lock-expiry'), 1);
  assert.equal(await holder(), 'instance-1 still here');
  await clock.advance(1);
  await fixture.pass('lock-expiry');
  assert.equal(await holder(), null);
  await assert.rejects(renew(one), refused('precondition_failed'));
});

test('a wall clock that jumps ends nothing', async () => {
  await fixture.pass('lock-expiry');
  await acquire(one, { ttlMs: 1000 });
  fixture.context.clock.jump(3_600_000);
  await fixture.pass('lock-expiry');
  assert.equal(await holder(), 'instance-1');
  fixture.context.clock.jump(-7_200_000);
  await fixture.context.clock.advance(1000);
  await fixture.pass('lock-expiry');
  assert.equal(await holder(), null);
});

test('who waits gets it in turn, when it is given back or has ended', async () => {
  const { clock } = fixture.context;
  await fixture.pass('lock-expiry');
  await acquire(one, { ttlMs: 1000 });
  const got: string[] = [];
  const waited: number[] = [];
  const waits = ['a', 'b', 'c'].map(async (name) => {
    const lease = `lease-of-waiter-${name}`;
    const { waitedMs } = await acquire(two, { waitMs: 60_000, ttlMs: 1000 }, lease);
    waited.push(waitedMs);
    got.push(name);
  });
  await settle();
  assert.deepEqual(got, []);
  await release(one);
  await settle();
  assert.deepEqual(got, ['a']);
  await clock.advance(1000);
  await fixture.pass('lock-expiry');
  await settle();
  assert.deepEqual(got, ['a', 'b']);
  await assert.rejects(acquire(one), refused('conflict'), 'who comes later does not pass those who wait');
  await clock.advance(1000);
  await fixture.pass('lock-expiry');
  await Promise.all(waits);
  assert.deepEqual(got, ['a', 'b', 'c']);
  assert.deepEqual(waited, [0, 1000, 2000], 'so each knows when its time began');
});

test('who waits in vain is told so, and who has gone away does not get it', async () => {
  const { clock } = fixture.context;
  await acquire(one, { ttlMs: 300_000 });
  const late = acquire(two, { waitMs: 5000 });
  late.catch(() => undefined);
  await clock.advance(5000);
  await assert.rejects(late, refused('conflict'));
  const gone = new AbortController();
  const leaving = acquire(two, { waitMs: 60_000, signal: gone.signal });
  leaving.catch(() => undefined);
  await settle();
  gone.abort();
  await assert.rejects(leaving, refused('conflict'));
  await release(one);
  await settle();
  assert.equal(await holder(), null);
  await acquire(two, { signal: gone.signal }).catch(() => undefined);
  assert.equal(await holder(), null, 'taken for nobody, it was given back');
});

test('who leads next gives every lease its whole time anew, and goes on counting fences', async () => {
  const { clock } = fixture.context;
  const { fence } = await acquire(one, { ttlMs: 10_000 });
  await clock.advance(9_999);
  const next = fixture.again();
  const expiry = next.reconcilers.find(({ name }) => name === 'lock-expiry');
  assert.ok(expiry);
  const pass = () => expiry.run(new AbortController().signal);
  assert.equal(await pass(), 10_000);
  await clock.advance(9_999);
  await pass();
  assert.equal(await holder(), 'instance-1');
  await clock.advance(1);
  await pass();
  assert.equal(await holder(), null);
  assert.ok((await acquire(two, { librad: next })).fence > fence);
});

test('whoever waits when another one begins to lead is sent there', async () => {
  await acquire(one);
  const waiting = acquire(two, { waitMs: 60_000 });
  await settle();
  fixture.librad.stop();
  await assert.rejects(waiting, (error) => isFailure(error, 'unavailable') && error.details?.['moving'] === true);
});

test('many at once: one gets it', async () => {
  const all = await Promise.allSettled(Array.from({ length: 30 }, (_unused, index) => acquire(one, {}, `lease-number-${index}-of-many`)));
  assert.equal(all.filter(({ status }) => status === 'fulfilled').length, 1);
  const many = await Promise.all(Array.from({ length: 30 }, (_unused, index) => acquire(one, { lock: `l${index}` })));
  assert.equal(new Set(many.map(({ fence }) => fence)).size, 30);
  const page = await fixture.librad.handlers.locks.list(
    callBy<Locks['list']>(one, { params: {}, query: { limit: 10, cursor: undefined, prefix: 'l' }, body: undefined }),
  );
  assert.equal(page.items.length, 10);
  assert.ok(page.next !== null);
});

test('whoever watches is told who holds it now, and when that changes; not of renewals', async () => {
  const over = new AbortController();
  const told: string[] = [];
  const ids: (string | null)[] = [];
  const running = (async () => {
    const params = { lock: 'leader' };
    const { locks } = fixture.librad.handlers;
    for await (const { id, data } of locks.watch(
      callBy<Locks['watch']>(one, { params, query: undefined, body: undefined, signal: over.signal }),
    )) {
      told.push(data.holder === null ? 'nobody' : `${data.holder.instance} ${data.holder.value}`);
      ids.push(id);
    }
  })();
  await settle();
  await acquire(two, { value: 'a' });
  await settle();
  await renew(two);
  await settle();
  await renew(two, { value: 'b' });
  await settle();
  await release(two);
  await settle();
  over.abort();
  await running;
  assert.deepEqual(told, ['nobody', 'instance-2 a', 'instance-2 b', 'nobody']);
  assert.ok(ids.every((id) => id !== null));
});

test('locks and their counter go with the Environment', async () => {
  const { view, store } = fixture.context;
  await fixture.pass('librad-left-over');
  await acquire(fixture.callers.other);
  await acquire(one);
  const stored = view.get(environmentRecords, 'environment-2');
  assert.ok(stored);
  await view.commit(remove(environmentRecords, stored));
  await assert.rejects(acquire(fixture.callers.other, { lock: 'more' }), refused('conflict'));
  await fixture.pass('librad-left-over');
  const keys = async (prefix: string) => (await store.list({ prefix })).entries.map(({ key }) => key);
  assert.deepEqual(await keys('lock'), ['lock-counters/environment-1', 'locks/environment-1/leader']);
});
