// The default store: one SQLite file with an append-only revision log and the current state, in WAL mode with a sync at every commit.
// What is acknowledged is on disk; what was not is gone after a crash.

import type { SQLOutputValue } from 'node:sqlite';
import type { Clock } from '../lib/clock.ts';
import { createEngine } from './engine.ts';
import { createRecentChanges } from './recent-changes.ts';
import { sqliteFailure } from './sqlite-failure.ts';
import { closeDatabaseFile, openDatabaseFile } from './sqlite-file.ts';
import type { Storage } from './storage.ts';
import type { Change, ChangeBatch, Entry, Store } from './store.ts';

const DEFAULT_KEEP_REVISIONS = 10_000;
const DEFAULT_KEEP_BYTES = 1024 * 1024 * 1024;
const CHANGE_OVERHEAD_BYTES = 100;
const DEFAULT_MAX_BYTES = 8 * 1024 * 1024 * 1024;
/** Watchers that are up to date are served from memory. */
const RECENT = { maxRevisions: 512, maxBytes: 4 * 1024 * 1024 } as const;
/** Changes per revision in `log.id`. */
const ORDINALS = 2 ** 16;
/** Compaction happens inside commits, this many revisions at a time, so it needs no sync of its own. */
const COMPACTION_STEP = 256;
/** Greater than every allowed key of a prefix (keys may not hold this character). */
const LAST_CHARACTER = '\u{10ffff}';

export interface SqliteStoreOptions {
  /** The database file; its folder must exist. */
  readonly path: string;
  readonly clock: Clock;
  /** Revisions that watchers can go back to; default 10,000. */
  readonly keepRevisions?: number | undefined;
  /** Beyond so many bytes of history fewer revisions are kept; default 1 GiB. */
  readonly keepBytes?: number | undefined;
  /** Largest size of the database, bytes; beyond it commits fail with `storage_failed`. Default 8 GiB. */
  readonly maxBytes?: number | undefined;
}

/** Opens or creates the store. Throws `data_in_use`, `data_newer` or `storage_failed`; never replaces a file that it cannot read. */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<Store> {
  const storage = openSqliteStorage(options);
  return createEngine({ storage, clock: options.clock, defer: setImmediate });
}

type Row = Record<string, SQLOutputValue>;

function openSqliteStorage(options: SqliteStoreOptions): Storage {
  const { path, keepRevisions = DEFAULT_KEEP_REVISIONS, keepBytes = DEFAULT_KEEP_BYTES, maxBytes = DEFAULT_MAX_BYTES } = options;
  const database = openDatabaseFile({ path, maxBytes });
  const sql = {
    begin: database.prepare('begin immediate'),
    commit: database.prepare('commit'),
    get: database.prepare('select key, value, create_revision, revision, lease_id from current where key = ?'),
    head: database.prepare('select create_revision, revision from current where key = ?'),
    list: database.prepare(
      'select key, value, create_revision, revision, lease_id from current where key >= ? and key > ? and key < ? order by key limit ?',
    ),
    put: database.prepare(
      `insert into current (key, value, create_revision, revision, lease_id) values (?, ?, ?, ?, ?)
       on conflict (key) do update set value = excluded.value, revision = excluded.revision, lease_id = excluded.lease_id`,
    ),
    remove: database.prepare('delete from current where key = ?'),
    append: database.prepare('insert into log (id, bytes, key, value, create_revision, lease_id) values (?, ?, ?, ?, ?, ?)'),
    bytesBefore: database.prepare('select coalesce(sum(bytes), 0) as bytes from log where id < ?'),
    compact: database.prepare('delete from log where id < ?'),
    span: database.prepare('select min(id) as first, max(id) as last, coalesce(sum(bytes), 0) as bytes from log'),
    history: database.prepare('select id, key, value, create_revision, lease_id from log where id >= ? and id < ? order by id'),
    leases: database.prepare('select id, ttl_ms, expires_at_ms from lease'),
    hasLease: database.prepare('select 1 as found from lease where id = ?'),
    leaseKeys: database.prepare('select key from current where lease_id = ?'),
    leaseKeyCount: database.prepare('select count(*) as count from current where lease_id = ?'),
    putLease: database.prepare('insert or replace into lease (id, ttl_ms, expires_at_ms) values (?, ?, ?)'),
    removeLease: database.prepare('delete from lease where id = ?'),
  };

  const guarded = <T>(run: () => T): T => {
    try {
      return run();
    } catch (error) {
      throw sqliteFailure(error, path);
    }
  };

  const span = guarded(() => sql.span.get());
  const openedAtRevision = Math.floor(Number(span?.['last'] ?? 0) / ORDINALS);
  let compacted = openedAtRevision === 0 ? 0 : Math.floor(Number(span?.['first']) / ORDINALS) - 1;
  const recent = createRecentChanges({ startRevision: openedAtRevision, ...RECENT });
  let latest = openedAtRevision;
  let logBytes = Number(span?.['bytes']);
  let addedBytes = 0;

  const append = (
    revision: number,
    ordinal: number,
    key: string,
    value: string | null,
    createRevision: number,
    leaseId: string | null,
  ): void => {
    const bytes = CHANGE_OVERHEAD_BYTES + key.length + (value?.length ?? 0);
    sql.append.run(revision * ORDINALS + ordinal, bytes, key, value, createRevision, leaseId);
    addedBytes += bytes;
  };

  /** Drops old history within the open transaction: what is beyond the count, and half of it while it has too many bytes. */
  const compact = (): { readonly upTo: number; readonly bytes: number } => {
    const kept = latest - compacted;
    let drop = kept >= keepRevisions + COMPACTION_STEP ? Math.min(kept - keepRevisions, 2 * COMPACTION_STEP) : 0;
    if (logBytes + addedBytes > keepBytes) drop = Math.max(drop, Math.min(Math.floor(kept / 2), 2 * COMPACTION_STEP));
    if (drop <= 0) return { upTo: compacted, bytes: 0 };
    const firstKept = (compacted + drop + 1) * ORDINALS;
    const bytes = Number(sql.bytesBefore.get(firstKept)?.['bytes']);
    sql.compact.run(firstKept);
    return { upTo: compacted + drop, bytes };
  };

  return {
    openedAtRevision,
    get: (key) => {
      const row = guarded(() => sql.get.get(key));
      return row === undefined ? undefined : toEntry(row);
    },
    head: (key) => {
      const row = sql.head.get(key);
      return row === undefined ? undefined : { createRevision: Number(row['create_revision']), revision: Number(row['revision']) };
    },
    list: (prefix, after, limit) => guarded(() => sql.list.all(prefix, after ?? '', prefix + LAST_CHARACTER, limit)).map(toEntry),
    leases: () =>
      guarded(() => sql.leases.all()).map((row) => ({
        id: String(row['id']),
        ttlMs: Number(row['ttl_ms']),
        expiresAtMs: Number(row['expires_at_ms']),
      })),
    hasLease: (id) => sql.hasLease.get(id) !== undefined,
    leaseKeys: (id) => sql.leaseKeys.all(id).map((row) => String(row['key'])),
    leaseKeyCount: (id) => Number(sql.leaseKeyCount.get(id)?.['count']),
    transact: (apply) => {
      try {
        addedBytes = 0;
        sql.begin.run();
        apply();
        const dropped = compact();
        sql.commit.run();
        compacted = dropped.upTo;
        logBytes += addedBytes - dropped.bytes;
      } catch (error) {
        // SQLite rolls back by itself where the disk is full; a second try would hide the first error.
        if (database.isTransaction) database.exec('rollback');
        throw sqliteFailure(error, path);
      }
    },
    put: ({ key, value, createRevision, revision, leaseId }, ordinal) => {
      sql.put.run(key, value, createRevision, revision, leaseId);
      append(revision, ordinal, key, value, createRevision, leaseId);
    },
    remove: (key, revision, ordinal) => {
      sql.remove.run(key);
      append(revision, ordinal, key, null, 0, null);
    },
    putLease: ({ id, ttlMs, expiresAtMs }) => {
      sql.putLease.run(id, ttlMs, expiresAtMs);
    },
    removeLease: (id) => {
      sql.removeLease.run(id);
    },
    published: (batch) => {
      latest = batch.revision;
      recent.push(batch);
    },
    compactedRevision: () => compacted,
    history: (fromRevision, limit) => {
      if (fromRevision >= recent.firstRevision) return recent.read(fromRevision, limit);
      const rows = guarded(() => sql.history.all(fromRevision * ORDINALS, (fromRevision + limit) * ORDINALS));
      return toBatches(rows);
    },
    close: () => {
      guarded(() => closeDatabaseFile(database));
    },
  };
}

function toEntry(row: Row): Entry {
  return {
    key: String(row['key']),
    value: String(row['value']),
    createRevision: Number(row['create_revision']),
    revision: Number(row['revision']),
    leaseId: row['lease_id'] === null || row['lease_id'] === undefined ? null : String(row['lease_id']),
  };
}

function toChange(row: Row, revision: number): Change {
  if (row['value'] === null) return { kind: 'delete', key: String(row['key']), revision };
  return { kind: 'put', entry: toEntry({ ...row, revision }) };
}

function toBatches(rows: readonly Row[]): readonly ChangeBatch[] {
  const batches: ChangeBatch[] = [];
  let changes: Change[] = [];
  for (const row of rows) {
    const revision = Math.floor(Number(row['id']) / ORDINALS);
    if (batches.at(-1)?.revision !== revision) {
      changes = [];
      batches.push({ revision, changes });
    }
    changes.push(toChange(row, revision));
  }
  return batches;
}
