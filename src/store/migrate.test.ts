import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { lacking } from '../../test/requirements.ts';
import { createFakeClock, systemClock } from '../lib/clock.ts';
import { put, rejectsWith, write } from './contract-support.ts';
import { startTestCluster } from './etcd-fixture.ts';
import { createEtcdClient } from './etcd-client.ts';
import { openEtcdStore } from './etcd.ts';
import { createMemoryStore } from './memory.ts';
import { migrateStore, refuseHalfCopy } from './migrate.ts';
import { openSqliteStore } from './sqlite.ts';
import type { Store } from './store.ts';

async function allOf(store: Store): Promise<readonly string[]> {
  const found: string[] = [];
  for (let after: string | undefined; ;) {
    const { entries, more } = await store.list({ prefix: '', after });
    for (const { key, value, leaseId } of entries)
      found.push(`${key}=${value.length > 50 ? value.length : value}${leaseId === null ? '' : ' leased'}`);
    after = entries.at(-1)?.key;
    if (!more) return found;
  }
}

test('every entry arrives, whatever their number and size, and nothing that says who uses the store', async () => {
  const pairs = fc.uniqueArray(
    fc.tuple(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 4 }), fc.constantFrom(1, 50, 70_000, 200_000)),
    {
      selector: ([key]) => key,
      maxLength: 300,
    },
  );
  await fc.assert(
    fc.asyncProperty(pairs, async (found) => {
      const clock = createFakeClock();
      const [from, to] = [createMemoryStore({ clock }), createMemoryStore({ clock })];
      await write(from, put('leaders/control', 'somebody'));
      for (const [key, size] of found) await write(from, put(`k/${Buffer.from(key).toString('hex')}`, 'é'.repeat(Math.floor(size / 2))));
      assert.equal(await migrateStore({ from, to, clock }), found.length);
      assert.deepEqual(
        await allOf(to),
        (await allOf(from)).filter((text) => !text.startsWith('leaders/')),
      );
    }),
    { numRuns: 40 },
  );
});

test('what ends by itself ends at its time in the copy too', async () => {
  const clock = createFakeClock();
  const [from, to] = [createMemoryStore({ clock }), createMemoryStore({ clock })];
  const lease = await from.lease({ ttlMs: 60_000 });
  await write(from, put('a', '1', lease.id), put('b', '1', lease.id), put('c'));
  await clock.advance(20_000);
  await migrateStore({ from, to, clock });
  assert.deepEqual(await allOf(to), ['a=1 leased', 'b=1 leased', 'c=v']);
  await clock.advance(39_000);
  assert.equal((await allOf(to)).length, 3);
  await clock.advance(1_000);
  assert.deepEqual(await allOf(to), ['c=v']);
});

test('one that is broken off is not taken for a store, and is begun anew; one that is not empty is let be', async () => {
  const clock = createFakeClock();
  const [from, to] = [createMemoryStore({ clock }), createMemoryStore({ clock })];
  for (let index = 0; index < 250; index += 1) await write(from, put(`k/${index}`));
  let calls = 0;
  const breaking: Store = {
    ...to,
    commit: (transaction) => {
      calls += 1;
      return calls > 2 ? Promise.reject(new Error('unplugged')) : to.commit(transaction);
    },
  };
  await assert.rejects(migrateStore({ from, to: breaking, clock }), /unplugged/u);
  await rejectsWith(refuseHalfCopy(to), 'storage_failed');
  await rejectsWith(migrateStore({ from: to, to: createMemoryStore({ clock }), clock }), 'storage_failed');
  await write(from, put('k/0', 'changed'));
  assert.equal(await migrateStore({ from, to, clock }), 250);
  await refuseHalfCopy(to);
  assert.equal((await to.get('k/0'))?.value, 'changed');
  await rejectsWith(migrateStore({ from, to, clock }), 'exists');
});

test('from SQLite to etcd and back', { skip: lacking('etcd') }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'libra-migrate-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const cluster = await startTestCluster();
  t.after(() => cluster.stop());
  const clock = systemClock;
  const first = await openSqliteStore({ path: join(folder, 'a.db'), clock });
  const lease = await first.lease({ ttlMs: 3_600_000 });
  for (let index = 0; index < 1_200; index += 100)
    await write(
      first,
      ...Array.from({ length: 100 }, (_unused, at) => put(`k/${index + at}`, `ü ${index + at}`, at === 7 ? lease.id : undefined)),
    );
  const middle = await openEtcdStore({ client: createEtcdClient(cluster.endpoints), prefix: 'x' });
  const last = await openSqliteStore({ path: join(folder, 'b.db'), clock });
  assert.equal(await migrateStore({ from: first, to: middle, clock }), 1_200);
  assert.equal(await migrateStore({ from: middle, to: last, clock }), 1_200);
  assert.deepEqual(await allOf(last), await allOf(first));
  const [leased] = (await last.list({ prefix: 'k/107' })).entries;
  const leftMs = (await last.leaseLeftMs(leased?.leaseId ?? '')) ?? 0;
  assert.ok(leftMs > 3_500_000 && leftMs <= 3_601_000, String(leftMs));
  for (const store of [first, middle, last]) await store.close();
});
