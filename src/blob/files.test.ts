import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { smallDiskMissing, withSmallDisk } from '../../test/fixtures/small-disk.ts';
import { createFakeClock } from '../lib/clock.ts';
import { isFailure } from '../lib/failure.ts';
import { createSeededRandom } from '../lib/id.ts';
import type { BlobStore } from './blob.ts';
import { blobContract, bodyOf, digestOf, rejectsWith } from './contract-suite.ts';
import { openFileBlobs } from './files.ts';

const CHILD = fileURLToPath(new URL('../../test/fixtures/blob-crash-child.ts', import.meta.url));
const clock = createFakeClock();

blobContract('files', async (options) => {
  const folder = await mkdtemp(join(tmpdir(), 'libra-blobs-'));
  const blobs = await openFileBlobs({ folder, ...options });
  return {
    blobs,
    close: async () => {
      await blobs.close();
      await rm(folder, { recursive: true });
    },
  };
});

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-blobs-'));
  try {
    await run(folder);
  } finally {
    await chmod(folder, 0o700);
    await rm(folder, { recursive: true });
  }
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setImmediate(resolve));
}

/** Starts an upload in a process of its own, feeds it up to `feedTo`, and kills it there. */
async function crashUpload(folder: string, data: Buffer, offset: number, feedTo: number, blobs: BlobStore): Promise<void> {
  const child = spawn(process.execPath, [CHILD, folder, digestOf(data), String(offset)], { stdio: ['pipe', 'ignore', 'inherit'] });
  const exited = once(child, 'exit');
  child.stdin.on('error', () => undefined);
  child.stdin.write(data.subarray(offset, feedTo));
  await until(async () => (await blobs.uploadOffset(digestOf(data))) > offset);
  child.kill('SIGKILL');
  assert.deepEqual(await exited, [null, 'SIGKILL']);
}

describe('blobs as files', { timeout: 60_000 }, () => {
  it('can be gone on with after each of 8 kills in the middle of the upload', () =>
    inFolder(async (folder) => {
      const random = createSeededRandom(20260102);
      const data = Buffer.from(random.bytes(4_000_000));
      const digest = digestOf(data);
      const blobs = await openFileBlobs({ folder, maxBytes: 2 ** 30, clock });
      for (let round = 1; round <= 8; round += 1) {
        const offset = await blobs.uploadOffset(digest);
        const feedTo = Math.max(offset + 1, Math.floor((round * data.length) / 9));
        await crashUpload(folder, data, offset, feedTo, blobs);
        assert.equal(await blobs.stat(digest), undefined);
      }
      const offset = await blobs.uploadOffset(digest);
      assert.ok(offset > 0 && offset < data.length);
      assert.ok(await blobs.upload(digest, { offset, final: true, body: bodyOf(data.subarray(offset)) }));
      assert.deepEqual(await buffer(await blobs.read(digest)), data);
      await blobs.close();
    }));

  it('bound the uploads at one time', () =>
    inFolder(async (folder) => {
      const blobs = await openFileBlobs({ folder, maxBytes: 1000, clock, maxUploads: 2 });
      const datas = ['a', 'b', 'c'].map((text) => Buffer.from(text));
      const bodies = datas.map(() => new PassThrough());
      const uploads = datas.map((data, index) =>
        blobs.upload(digestOf(data), { offset: 0, final: true, body: bodies[index] ?? new PassThrough() }),
      );
      bodies.forEach((body, index) => body.write(datas[index] ?? ''));
      await rejectsWith(Promise.race(uploads), 'rate_limited');
      bodies.forEach((body) => body.end());
      const results = await Promise.allSettled(uploads);
      assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'fulfilled', 'rejected']);
      await blobs.close();
    }));

  it('are readable by their owner alone, and pass over files that are not theirs', () =>
    inFolder(async (folder) => {
      const blobs = await openFileBlobs({ folder, maxBytes: 1000, clock });
      const data = Buffer.from('secret');
      await blobs.upload(digestOf(data), { offset: 0, final: true, body: bodyOf(data) });
      const hex = digestOf(data).slice('sha256:'.length);
      const shard = join(folder, 'whole', hex.slice(0, 2));
      assert.equal((await stat(join(shard, hex))).mode & 0o777, 0o600);
      await writeFile(join(shard, 'README'), 'not a blob');
      await writeFile(join(folder, 'whole', 'lost+found'), '');
      await mkdir(join(folder, 'partial', 'folder'));
      assert.deepEqual((await Array.fromAsync(blobs.list())).length, 1);
      clock.jump(3_600_000);
      assert.deepEqual(await blobs.collect({ keep: new Set(), olderThanMs: 0 }), { deleted: 1, freedBytes: data.length });
      assert.deepEqual(await readdir(shard), ['README']);
      await blobs.close();
    }));

  it('on a full disk fail as storage_failed, leave no remains, and go on when there is room', { skip: smallDiskMissing }, () =>
    withSmallDisk({ sizeBytes: 400_000 }, async (disk) => {
      const blobs = await openFileBlobs({ folder: join(disk.folder, 'blobs'), maxBytes: 1e9, clock });
      const data = Buffer.alloc(300_000, 'd');
      await writeFile(join(disk.folder, 'filler'), Buffer.alloc(200_000));
      const upload = blobs.upload(digestOf(data), {
        offset: 0,
        final: true,
        body: bodyOf(data.subarray(0, 100_000), data.subarray(100_000)),
      });
      await assert.rejects(upload, (error) => isFailure(error, 'storage_failed') && /full/u.test(error.message));
      assert.equal(await blobs.usage(), 0);
      await rm(join(disk.folder, 'filler'));
      assert.ok(await blobs.upload(digestOf(data), { offset: 0, final: true, body: bodyOf(data) }));
      await blobs.close();
    }),
  );

  it('on a read-only disk say so when they are opened', { skip: smallDiskMissing }, () =>
    withSmallDisk({ sizeBytes: 400_000 }, async (disk) => {
      disk.readOnly();
      const opening = openFileBlobs({ folder: join(disk.folder, 'blobs'), maxBytes: 1000, clock });
      await assert.rejects(opening, (error) => isFailure(error, 'storage_failed') && error.message.includes(disk.folder));
    }),
  );
});
