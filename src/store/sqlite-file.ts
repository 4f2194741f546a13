// Opens the database file. A new one is built beside its place and moved there whole, so a file at its place that is empty, foreign or
// broken is damage and is told as such: data is never silently begun anew.

import { accessSync, closeSync, constants, existsSync, fsyncSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Failure } from '../lib/failure.ts';
import { sqliteFailure } from './sqlite-failure.ts';

/** `libr` in ASCII, in the file's header: tells our databases from others. */
const APPLICATION_ID = 0x6c696272;
/** Layout of the tables. A file with a higher number is refused. */
const FORMAT = 1;

// `log` is the append-only history: id = revision * 2^16 + the change's place in it; a value of null is a deletion. `current` is the
// newest state, kept in the same transactions.
const SCHEMA = `
  create table log (id integer primary key, bytes integer not null, key text not null, value text, create_revision integer not null, lease_id text) strict;
  create table current (key text primary key, value text not null, create_revision integer not null, revision integer not null,
    lease_id text) strict;
  create index current_lease on current (lease_id) where lease_id is not null;
  create table lease (id text primary key, ttl_ms integer not null, expires_at_ms integer not null) strict;
  create table session (open integer not null) strict;
  insert into session values (0);
  pragma application_id = ${APPLICATION_ID};
  pragma user_version = ${FORMAT};`;

export interface DatabaseFileOptions {
  readonly path: string;
  /** Largest size of the file, bytes. */
  readonly maxBytes: number;
}

/** The open database: locked for this process, checked, with its tables. Throws `data_in_use`, `data_newer` or `storage_failed`. */
export function openDatabaseFile({ path, maxBytes }: DatabaseFileOptions): DatabaseSync {
  try {
    accessSync(dirname(path), constants.R_OK | constants.W_OK | constants.X_OK);
    if (!existsSync(path)) createDatabaseFile(path);
    else if (statSync(path).size === 0) throw damaged(path, 'it is empty');
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch (error) {
    throw sqliteFailure(error, path);
  }
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: 0, enableForeignKeyConstraints: false });
    prepareDatabase(database, path, maxBytes);
    return database;
  } catch (error) {
    if (database?.isOpen === true) database.close();
    throw sqliteFailure(error, path);
  }
}

/** Marks the file as closed in order and closes it. */
export function closeDatabaseFile(database: DatabaseSync): void {
  try {
    database.exec('update session set open = 0');
  } catch {
    // A disk that is full or gone: nothing acknowledged depends on the mark; without it the next opening checks the whole file.
  }
  database.close();
}

function createDatabaseFile(path: string): void {
  if (existsSync(`${path}-wal`)) throw damaged(path, 'it is missing while its write-ahead log is there');
  const draft = `${path}.new`;
  rmSync(draft, { force: true });
  rmSync(`${draft}-journal`, { force: true });
  // Made by us, because SQLite would let everybody read it; its log file gets the same mode.
  closeSync(openSync(draft, 'wx', 0o600));
  const database = new DatabaseSync(draft);
  try {
    database.exec(`pragma synchronous = full; begin; ${SCHEMA} commit;`);
  } finally {
    database.close();
  }
  renameSync(draft, path);
  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function prepareDatabase(database: DatabaseSync, path: string, maxBytes: number): void {
  // Exclusive: a second opener is refused, and no shared-memory file is needed.
  database.exec('pragma locking_mode = exclusive; begin exclusive; commit;');
  const applicationId = pragmaNumber(database, 'application_id');
  if (applicationId !== APPLICATION_ID) throw damaged(path, 'it is not a database of Libra');
  const format = pragmaNumber(database, 'user_version');
  if (format > FORMAT) {
    throw new Failure('data_newer', {
      message: `The database ${path} has format ${format}; this version of Libra knows up to ${FORMAT}.`,
      hint: 'Start the newer version of Libra that wrote it.',
      details: { path, format, known: FORMAT },
    });
  }
  database.exec(`pragma journal_mode = wal; pragma synchronous = full; pragma temp_store = memory; pragma cache_size = -4096;
    pragma journal_size_limit = ${16 * 1024 * 1024};`);
  const pageBytes = pragmaNumber(database, 'page_size');
  database.exec(`pragma max_page_count = ${Math.max(1, Math.floor(maxBytes / pageBytes))}`);
  const session = database.prepare('select open from session').get();
  if (session?.['open'] === 1) checkStructure(database, path);
  // Also proves now, not at the first commit, that the file can be written.
  database.exec('update session set open = 1');
}

/** After a crash only: reads the whole file. */
function checkStructure(database: DatabaseSync, path: string): void {
  const finding = database.prepare('pragma quick_check(1)').get();
  const text = finding?.['quick_check'];
  if (text !== 'ok') throw damaged(path, String(text));
}

function pragmaNumber(database: DatabaseSync, name: 'application_id' | 'user_version' | 'page_size'): number {
  return Number(database.prepare(`pragma ${name}`).get()?.[name]);
}

function damaged(path: string, why: string): Failure {
  return new Failure('storage_failed', {
    message: `The database ${path} is damaged: ${why}.`,
    hint: 'Keep what is there, and bring the data folder back from a backup.',
    details: { path },
  });
}
