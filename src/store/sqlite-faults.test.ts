import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createFakeClock, systemClock } from '../lib/clock.ts';
import { isFailure } from '../lib/failure.ts';
import { createSeededRandom } from '../lib/id.ts';
import { put, rejectsWith, take, write } from './contract-support.ts';
import { ENGINE_LIMITS } from './engine.ts';
import { openSqliteStore } from './sqlite.ts';
import type { Store } from './store.ts';
import { smallDiskMissing, withSmallDisk } from '../../test/fixtures/small-disk.ts';

const clock = createFakeClock();
const CHILD = fileURLToPath(new URL('../../test/fixtures/store-crash-child.ts', import.meta.url));
const ROUNDS = 25;

async function inFolder(run: (folder: string, path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-store-'));
  try {
    await run(folder, join(folder, 'store.db'));
  } finally {
    await chmod(folder, 0o700);
    await rm(folder, { recursive: true });
  }
}

async function withOpen(path: string, run: (store: Store) => Promise<void>): Promise<void> {
  const store = await openSqliteStore({ path, clock });
  try {
    await run(store);
  } finally {
    await store.close();
  }
}

/** Makes a store with some content and changes the closed file by SQL. */
async function prepared(path: string, sql: string): Promise<void> {
  await withOpen(path, async (store) => {
    for (let index = 0; index < 50; index += 1) await write(store, put(`k/${index}`, 'x'.repeat(2000)));
  });
  const database = new DatabaseSync(path);
  database.exec(sql);
  database.close();
}

/** Runs the committing child until `killAfterMs` after its first acknowledgement, then kills it. Returns what it acknowledged. */
async function crashRound(path: string, round: number, killAfterMs: number): Promise<Map<string, number>> {
  const child = spawn(process.execPath, [CHILD, path, String(round)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  const acknowledged = new Map<string, number>();
  let killer: Promise<void> | null = null;
  for await (const line of createInterface({ input: child.stdout })) {
    const [name, revision] = line.split(' ');
    if (name === undefined || revision === undefined) break;
    acknowledged.set(name, Number(revision));
    killer ??= systemClock.sleep(killAfterMs).then(() => void child.kill('SIGKILL'));
  }
  await killer;
  const [code, signal] = await closed;
  assert.deepEqual([code, signal], [null, 'SIGKILL'], 'the child must run until it is killed');
  return acknowledged;
}

async function checkAcknowledged(store: Store, acknowledged: ReadonlyMap<string, number>): Promise<void> {
  const found = new Map<string, string>();
  let revision = 0;
  for (let after: string | undefined; ;) {
    const page = await store.list({ prefix: '', after });
    revision = page.revision;
    for (const entry of page.entries) {
      found.set(entry.key, entry.value);
      assert.ok(entry.revision <= revision);
      const known = acknowledged.get(entry.key.slice(2));
      if (known !== undefined) assert.equal(entry.revision, known, `${entry.key} has the acknowledged revision`);
    }
    after = page.entries.at(-1)?.key;
    if (!page.more) break;
  }
  for (const name of acknowledged.keys()) {
    assert.equal(found.get(`a/${name}`)?.split(' ')[0], name, `${name} was acknowledged and must be there`);
  }
  for (const [key, value] of found) {
    assert.equal(found.get(`${key.startsWith('a/') ? 'b' : 'a'}${key.slice(1)}`), value, `${key} came with its pair`);
  }
  const recent = await take(store, Math.max(1, revision - 20), Math.min(20, revision));
  assert.deepEqual(
    recent.map((batch) => batch.changes.length),
    recent.map(() => 2),
  );
}

describe('the sqlite engine in trouble', { timeout: 120_000 }, () => {
  it(`loses nothing acknowledged over ${ROUNDS} kills at random moments, and reopens after each`, () =>
    inFolder(async (_folder, path) => {
      const random = createSeededRandom(20260101);
      const acknowledged = new Map<string, number>();
      for (let round = 0; round < ROUNDS; round += 1) {
        for (const [name, revision] of await crashRound(path, round, random.next() * 60)) acknowledged.set(name, revision);
        await withOpen(path, (store) => checkAcknowledged(store, acknowledged));
      }
      assert.ok(acknowledged.size > ROUNDS * 10, `only ${acknowledged.size} commits were acknowledged: the test tests nothing`);
    }));

  it('refuses a database of a newer format as data_newer and leaves it alone', () =>
    inFolder(async (_folder, path) => {
      await prepared(path, 'pragma user_version = 99');
      const before = await readFile(path);
      await rejectsWith(openSqliteStore({ path, clock }), 'data_newer');
      assert.deepEqual(await readFile(path), before);
    }));

  it('refuses foreign, broken, emptied and vanished files as storage_failed and never begins anew', () =>
    inFolder(async (folder, path) => {
      await prepared(path, 'pragma application_id = 7');
      await rejectsWith(openSqliteStore({ path, clock }), 'storage_failed');
      await writeFile(path, 'this is no database'.repeat(1000));
      await rejectsWith(openSqliteStore({ path, clock }), 'storage_failed');
      assert.equal((await readFile(path, 'utf8')).startsWith('this is no database'), true);
      await truncate(path, 0);
      await rejectsWith(openSqliteStore({ path, clock }), 'storage_failed');
      assert.equal((await readFile(path)).length, 0);
      await rm(path);
      await writeFile(`${path}-wal`, 'x');
      await rejectsWith(openSqliteStore({ path, clock }), 'storage_failed');
      await rejectsWith(openSqliteStore({ path: join(folder, 'missing', 'store.db'), clock }), 'storage_failed');
    }));

  it('finds pages that a crash or the disk has damaged', () =>
    inFolder(async (_folder, path) => {
      await prepared(path, 'update session set open = 1');
      const bytes = await readFile(path);
      await writeFile(path, bytes.fill(0xa5, 4096 * 8, 4096 * 30));
      await assert.rejects(openSqliteStore({ path, clock }), (error: unknown) => {
        assert.ok(isFailure(error, 'storage_failed'));
        assert.match(error.message, /damaged/u);
        assert.ok(error.message.includes(path));
        assert.match(error.hint ?? '', /backup/u);
        return true;
      });
    }));

  it('is not disturbed by a draft that a killed first start left behind', () =>
    inFolder(async (_folder, path) => {
      await writeFile(`${path}.new`, 'half a database');
      await withOpen(path, async (store) => {
        assert.equal((await write(store, put('a'))).revision, 1);
      });
    }));

  it('is open once: a second opener gets data_in_use', () =>
    inFolder(async (_folder, path) => {
      await withOpen(path, async (store) => {
        await rejectsWith(openSqliteStore({ path, clock }), 'data_in_use');
        assert.equal((await write(store, put('a'))).committed, true);
      });
      await withOpen(path, async (store) => assert.ok(await store.get('a')));
    }));

  it('beyond its size limit refuses commits whole, keeps what it has, and goes on when there is room', () =>
    inFolder(async (_folder, path) => {
      const store = await openSqliteStore({ path, clock, maxBytes: 300_000, keepRevisions: 1_000_000 });
      await fillUntilRefused(store);
      await store.close();
      await withOpen(path, async (again) => {
        const { revision } = await again.list({ prefix: '' });
        assert.equal((await write(again, put('after'))).revision, revision + 1);
      });
    }));

  it('keeps fewer revisions where they are large, and counts on after a reopening', () =>
    inFolder(async (_folder, path) => {
      for (let opening = 1; opening <= 3; opening += 1) {
        const store = await openSqliteStore({ path, clock, keepBytes: 100_000 });
        for (let index = 0; index < 50; index += 1) await write(store, put('k', 'x'.repeat(10_000)));
        await rejectsWith(take(store, opening * 50 - 20, 1), 'compacted');
        assert.equal((await take(store, opening * 50 - 3, 4)).length, 4);
        await store.close();
      }
      const database = new DatabaseSync(path);
      const rows = Number(database.prepare('select count(*) as count from log').get()?.['count']);
      database.close();
      assert.ok(rows >= 4 && rows <= 20, `${rows} revisions are kept`);
    }));

  it('takes only so many commits at once, and refuses the rest instead of queueing them', () =>
    inFolder(async (_folder, path) => {
      await withOpen(path, async (store) => {
        const { pending } = ENGINE_LIMITS;
        const results = await Promise.allSettled(Array.from({ length: pending + 3 }, (_, index) => write(store, put(`k/${index}`))));
        const refused = results.filter((result) => result.status === 'rejected');
        assert.equal(refused.length, 3);
        assert.ok(refused.every(({ reason }) => isFailure(reason, 'rate_limited')));
        assert.equal((await store.list({ prefix: '' })).revision, pending);
      });
    }));

  it('is readable by its owner alone', () =>
    inFolder(async (folder, path) => {
      await withOpen(path, async (store) => {
        await write(store, put('a'));
        for (const name of await readdir(folder)) assert.equal((await stat(join(folder, name))).mode & 0o077, 0, name);
      });
    }));

  it(
    'on a full disk refuses commits as storage_failed, keeps what it has, and goes on when there is room',
    { skip: smallDiskMissing },
    () =>
      withSmallDisk({ sizeBytes: 2_000_000 }, async (disk) => {
        const store = await openSqliteStore({ path: join(disk.folder, 'store.db'), clock });
        const filler = join(disk.folder, 'filler');
        await writeFile(filler, Buffer.alloc(1_300_000));
        const lease = await store.lease({ ttlMs: 1000 });
        const revision = await fillUntilRefused(store, lease.id);
        await clock.advance(1000);
        await rejectsWith(write(store, put('k', 'x'.repeat(100_000))), 'storage_failed');
        assert.equal((await store.get('a/1'))?.leaseId, lease.id, 'a lease cannot end while nothing can be written');
        await rm(filler);
        await clock.advance(1000);
        assert.equal((await take(store, revision + 1, 1))[0]?.changes.length, revision, 'but ends when it can');
        assert.equal((await write(store, put('after'))).revision, revision + 2);
        await store.close();
        await withOpen(join(disk.folder, 'store.db'), async (again) => assert.ok(await again.get('after')));
      }),
  );

  it('on a read-only disk says so when it is opened', { skip: smallDiskMissing }, () =>
    withSmallDisk({ sizeBytes: 1_000_000 }, async (disk) => {
      const path = join(disk.folder, 'store.db');
      const refused = (error: unknown): boolean => isFailure(error, 'storage_failed') && /read-only/u.test(error.message);
      disk.readOnly();
      await assert.rejects(openSqliteStore({ path, clock }), refused);
      disk.writable();
      await withOpen(path, async (store) => void (await write(store, put('a'))));
      disk.readOnly();
      await assert.rejects(openSqliteStore({ path, clock }), refused);
    }),
  );
});

/** Commits until the store refuses; checks that the refused commit left nothing and that all before it is readable. Returns the revision. */
async function fillUntilRefused(store: Store, leaseId?: string): Promise<number> {
  let revision = 0;
  for (;;) {
    try {
      const result = await write(store, put(`a/${revision + 1}`, 'x'.repeat(9000), leaseId), put(`b/${revision + 1}`, 'x'.repeat(9000)));
      revision = result.revision;
    } catch (error) {
      assert.ok(isFailure(error, 'storage_failed'), String(error));
      assert.match(error.message, /full|disk/u);
      break;
    }
    assert.ok(revision < 1000, 'the disk never became full');
  }
  const { entries } = await store.list({ prefix: '' });
  assert.equal(entries.length, revision * 2);
  assert.equal((await store.list({ prefix: '' })).revision, revision);
  assert.equal((await take(store, 1, revision)).length, revision);
  return revision;
}
