// The part of the store contract about leases, in the time of a fake clock.

import assert from 'node:assert/strict';
import { del, put, rejectsWith, take, withStore, write } from './contract-support.ts';
import type { ContractCase } from './contract-support.ts';

const HOUR_MS = 3_600_000;

export const leaseCases: readonly ContractCase[] = [
  {
    name: 'take all of their keys with them, in one revision that watchers see',
    run: (open) =>
      withStore(open, async ({ store, clock }) => {
        const lease = await store.lease({ ttlMs: 5000 });
        await write(store, put('a', '1', lease.id), put('free'));
        await write(store, put('b', '1', lease.id));
        assert.equal((await store.get('a'))?.leaseId, lease.id);
        await clock.advance(4999);
        await write(store, put('free', '2'));
        assert.equal((await store.get('a'))?.value, '1');
        await clock.advance(1);
        const [batch] = await take(store, 4, 1);
        assert.equal(batch?.revision, 4);
        assert.deepEqual(batch.changes.map((change) => (change.kind === 'delete' ? change.key : 'put')).sort(), ['a', 'b']);
        assert.deepEqual(
          (await store.list({ prefix: '' })).entries.map((entry) => entry.key),
          ['free'],
        );
        await rejectsWith(lease.keepAlive(), 'not_found');
      }),
  },

  {
    name: 'live on while they are kept alive',
    run: (open) =>
      withStore(open, async ({ store, clock }) => {
        const lease = await store.lease({ ttlMs: 5000 });
        await write(store, put('a', '1', lease.id));
        for (let round = 0; round < 5; round += 1) {
          assert.equal(await store.leaseLeftMs(lease.id), 5000);
          await clock.advance(4000);
          assert.equal(await store.leaseLeftMs(lease.id), 1000);
          await lease.keepAlive();
        }
        assert.equal(await store.leaseLeftMs('no-such-lease'), undefined);
        assert.equal((await store.get('a'))?.revision, 1);
        await clock.advance(5000);
        assert.equal((await take(store, 2, 1))[0]?.changes[0]?.kind, 'delete');
      }),
  },

  {
    name: 'end at once when revoked, and a second time without harm',
    run: (open) =>
      withStore(open, async ({ store }) => {
        const lease = await store.lease({ ttlMs: 5000 });
        await write(store, put('a', '1', lease.id));
        await lease.revoke();
        assert.equal(await store.get('a'), undefined);
        await lease.revoke();
        assert.equal((await store.list({ prefix: '' })).revision, 2);
        await rejectsWith(write(store, put('b', '1', lease.id)), 'not_found');
        await rejectsWith(lease.keepAlive(), 'not_found');
      }),
  },

  {
    name: 'let go of keys that are written without them, moved to another, or deleted',
    run: (open) =>
      withStore(open, async ({ store }) => {
        const one = await store.lease({ ttlMs: 5000 });
        const other = await store.lease({ ttlMs: 5000 });
        await write(store, put('freed', '1', one.id), put('moved', '1', one.id), put('again', '1', one.id), put('kept', '1', one.id));
        await write(store, put('freed'), put('moved', '2', other.id), del('again'));
        await write(store, put('again'));
        await one.revoke();
        const { entries } = await store.list({ prefix: '' });
        assert.deepEqual(
          entries.map((entry) => [entry.key, entry.leaseId]),
          [
            ['again', null],
            ['freed', null],
            ['moved', other.id],
          ],
        );
      }),
  },

  {
    name: 'that do not exist refuse the whole commit',
    run: (open) =>
      withStore(open, async ({ store }) => {
        await rejectsWith(write(store, put('a'), put('b', '1', 'no-such-lease')), 'not_found');
        assert.deepEqual((await store.list({ prefix: '' })).entries, []);
      }),
  },

  {
    name: 'without keys take no revision',
    run: (open) =>
      withStore(open, async ({ store, clock }) => {
        await store.lease({ ttlMs: 1000 });
        await (await store.lease({ ttlMs: 1000 })).revoke();
        await clock.advance(1000);
        assert.deepEqual(await write(store, put('a')), { committed: true, revision: 1 });
      }),
  },

  {
    name: 'last at least a second',
    run: (open) =>
      withStore(open, async ({ store }) => {
        for (const ttlMs of [999, 0, -1, Number.NaN, 1500.5]) await rejectsWith(store.lease({ ttlMs }), 'invalid_input');
      }),
  },

  {
    name: 'neither die nor live longer by a jump of the wall clock',
    run: (open) =>
      withStore(open, async ({ store, clock }) => {
        const lease = await store.lease({ ttlMs: 5000 });
        await write(store, put('a', '1', lease.id));
        clock.jump(HOUR_MS);
        await clock.advance(4000);
        assert.ok(await store.get('a'));
        clock.jump(-2 * HOUR_MS);
        await clock.advance(1000);
        assert.equal((await take(store, 2, 1))[0]?.changes.length, 1);
      }),
  },

  {
    name: 'of many lengths end each in its time',
    run: (open) =>
      withStore(open, async ({ store, clock }) => {
        for (const seconds of [5, 2, 4, 1, 3]) {
          const lease = await store.lease({ ttlMs: seconds * 1000 });
          await write(store, put(`k/${seconds}`, '1', lease.id));
        }
        for (let gone = 1; gone <= 5; gone += 1) {
          await clock.advance(1000);
          const [batch] = await take(store, 5 + gone, 1);
          assert.deepEqual(batch?.changes, [{ kind: 'delete', key: `k/${gone}`, revision: 5 + gone }]);
        }
      }),
  },

  {
    durable: true,
    name: 'go on after a reopening with what is left of their time',
    run: (open) =>
      withStore(open, async ({ store, clock, reopen }) => {
        assert.ok(reopen);
        const lease = await store.lease({ ttlMs: HOUR_MS });
        await write(store, put('a', '1', lease.id));
        await clock.advance(HOUR_MS / 2);
        const again = await reopen();
        await clock.advance(HOUR_MS / 2 - 1);
        assert.ok(await again.get('a'));
        await clock.advance(1);
        assert.equal((await take(again, 2, 1))[0]?.changes[0]?.kind, 'delete');
      }),
  },

  {
    durable: true,
    name: 'that ended while the store was closed are given a moment for their holder to come back',
    run: (open) =>
      withStore(open, async ({ store, clock, reopen }) => {
        assert.ok(reopen);
        const long = await store.lease({ ttlMs: HOUR_MS });
        const short = await store.lease({ ttlMs: 3000 });
        await write(store, put('long', '1', long.id), put('short', '1', short.id));
        await store.close();
        clock.jump(2 * HOUR_MS);
        const again = await reopen();
        await clock.advance(2999);
        assert.ok(await again.get('short'));
        await clock.advance(1);
        await take(again, 2, 1);
        assert.ok(await again.get('long'));
        await clock.advance(7000);
        assert.deepEqual((await take(again, 3, 1))[0]?.changes, [{ kind: 'delete', key: 'long', revision: 3 }]);
      }),
  },
];
