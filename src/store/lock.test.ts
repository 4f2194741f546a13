import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { smallDiskMissing, withSmallDisk } from '../../test/fixtures/small-disk.ts';
import { isFailure } from '../lib/failure.ts';
import { rejectsWith } from './contract-support.ts';
import { acquireDataLock } from './lock.ts';
import type { LockHolder } from './lock.ts';

const CHILD = fileURLToPath(new URL('../../test/fixtures/data-lock-child.ts', import.meta.url));
const who: LockHolder = { pid: process.pid, startedAtMs: Date.UTC(2026, 0, 1), apiUrl: null };

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-lock-'));
  try {
    await run(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

describe('the lock of a data folder', { timeout: 30_000 }, () => {
  it('is held by one process, named to the others, and free again after kill -9', () =>
    inFolder(async (folder) => {
      const child = spawn(process.execPath, [CHILD, folder], { stdio: ['pipe', 'pipe', 'inherit'] });
      const exited = once(child, 'exit');
      await once(child.stdout, 'data');
      await assert.rejects(acquireDataLock(folder, { who }), (error) => {
        assert.ok(isFailure(error, 'data_in_use'));
        for (const fact of [folder, `process ${child.pid}`, '2026-01-02T00:00:00.000Z', 'http://127.0.0.1:7400']) {
          assert.ok(error.message.includes(fact), `${error.message} names ${fact}`);
        }
        assert.match(error.hint ?? '', /libra down/u);
        return true;
      });
      child.kill('SIGKILL');
      await exited;
      const lock = await acquireDataLock(folder, { who });
      await rejectsWith(acquireDataLock(folder, { who }), 'data_in_use');
      lock.release();
    }));

  it('is free after release, however often that is called, and leaves no claim behind', () =>
    inFolder(async (folder) => {
      const lock = await acquireDataLock(folder, { who });
      assert.equal((await stat(join(folder, 'lock.json'))).mode & 0o777, 0o600);
      lock.release();
      lock.release();
      assert.deepEqual(await readdir(folder), ['lock.db']);
      (await acquireDataLock(folder, { who })).release();
    }));

  it('does not need the file that names the holder', () =>
    inFolder(async (folder) => {
      const lock = await acquireDataLock(folder, { who });
      await writeFile(join(folder, 'lock.json'), 'no json');
      await assert.rejects(
        acquireDataLock(folder, { who }),
        (error) => isFailure(error, 'data_in_use') && /another process/u.test(error.message),
      );
      lock.release();
    }));

  it('says why it cannot be taken where the folder is missing or read-only', { skip: smallDiskMissing }, () =>
    withSmallDisk({ sizeBytes: 100_000 }, async (disk) => {
      await rejectsWith(acquireDataLock(join(disk.folder, 'missing'), { who }), 'storage_failed');
      (await acquireDataLock(disk.folder, { who })).release();
      disk.readOnly();
      await assert.rejects(
        acquireDataLock(disk.folder, { who }),
        (error) => isFailure(error, 'storage_failed') && /read-only/u.test(error.message),
      );
    }),
  );
});
