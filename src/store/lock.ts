// One platform per data folder: an exclusive lock that the kernel frees when its holder dies in whatever way, and beside it a small file
// that tells a second one who holds it.

import { closeSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Failure, isFailure } from '../lib/failure.ts';
import { readJsonFile, replaceFileSync } from '../sys/durable-file.ts';
import { sqliteFailure } from './sqlite-failure.ts';

/** Who holds a data folder, for people who meet the lock. */
export interface LockHolder {
  readonly pid: number;
  readonly startedAtMs: number;
  /** Where its API answers; null until it listens. */
  readonly apiUrl: string | null;
}

export interface DataLock {
  /** Tells others more about the holder, such as the API's address once it is known. */
  describe(who: LockHolder): void;
  release(): void;
}

/** Throws `data_in_use` naming the holder, or `storage_failed` where the folder cannot be written. The folder must exist. */
export async function acquireDataLock(dataFolder: string, options: { readonly who: LockHolder }): Promise<DataLock> {
  const path = join(dataFolder, 'lock.db');
  const holderPath = join(dataFolder, 'lock.json');
  const database = openLock(path, dataFolder, holderPath);
  const describe = (who: LockHolder): void => {
    replaceFileSync(holderPath, `${JSON.stringify(who)}\n`);
  };
  try {
    describe(options.who);
  } catch (error) {
    database.close();
    throw sqliteFailure(error, holderPath);
  }
  return {
    describe,
    release: () => {
      if (!database.isOpen) return;
      rmSync(holderPath, { force: true });
      database.close();
    },
  };
}

function openLock(path: string, dataFolder: string, holderPath: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    createPrivately(path);
    database = new DatabaseSync(path, { timeout: 0 });
    database.exec('pragma locking_mode = exclusive; begin exclusive');
    return database;
  } catch (error) {
    database?.close();
    const failure = sqliteFailure(error, path);
    throw isFailure(failure, 'data_in_use') ? inUse(dataFolder, readHolder(holderPath)) : failure;
  }
}

/** SQLite would let everybody read it. Never opens an existing one: closing any descriptor of it would drop a lock that this process holds. */
function createPrivately(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
}

function inUse(dataFolder: string, holder: LockHolder | null): Failure {
  const who =
    holder === null
      ? 'another process'
      : `process ${holder.pid}, started ${new Date(holder.startedAtMs).toISOString()}${holder.apiUrl === null ? '' : `, API at ${holder.apiUrl}`}`;
  return new Failure('data_in_use', {
    message: `The data folder ${dataFolder} is in use by ${who}.`,
    hint: 'Stop it with `libra down`, or choose another folder with --data.',
    details: { dataFolder, ...holder },
  });
}

function readHolder(path: string): LockHolder | null {
  const value = readJsonFile(path);
  if (typeof value !== 'object' || value === null || !('pid' in value) || !('startedAtMs' in value)) return null;
  if (typeof value.pid !== 'number' || typeof value.startedAtMs !== 'number') return null;
  const apiUrl = 'apiUrl' in value && typeof value.apiUrl === 'string' ? value.apiUrl : null;
  return { pid: value.pid, startedAtMs: value.startedAtMs, apiUrl };
}
