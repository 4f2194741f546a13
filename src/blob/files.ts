// Blobs as files: `whole/<2 hex>/<64 hex>` and `partial/<64 hex>`. A file comes to `whole` by rename, after its digest was verified and
// its bytes synced, so a blob is there completely or not at all, whatever dies when.

import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, rename, rm, stat, utimes } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import type { BlobInfo, BlobStore, Digest } from './blob.ts';
import { digestHex } from './digest.ts';
import { isFull, isMissing, storageFailure } from './file-failure.ts';
import { receiveBody } from './receive.ts';
import { listDigests, listWhole, readRange } from './whole-files.ts';

export interface FileBlobsOptions {
  /** Made when it is missing. */
  readonly folder: string;
  /** Largest blob, bytes. */
  readonly maxBytes: number;
  readonly clock: Clock;
  /** Uploads at one time; more are `rate_limited`. Default 32. */
  readonly maxUploads?: number | undefined;
  /** An upload that sends nothing for so long is ended; what came is kept. Default 60,000 ms. */
  readonly idleTimeoutMs?: number | undefined;
}

const DEFAULT_MAX_UPLOADS = 32;
const DEFAULT_IDLE_TIMEOUT_MS = 60_000;

/** Opens the folder. Throws `storage_failed` where it cannot be made or written. */
export async function openFileBlobs(options: FileBlobsOptions): Promise<BlobStore> {
  const { folder, maxBytes, clock, maxUploads = DEFAULT_MAX_UPLOADS, idleTimeoutMs = DEFAULT_IDLE_TIMEOUT_MS } = options;
  const wholeFolder = join(folder, 'whole');
  const partialFolder = join(folder, 'partial');
  const busy = new Map<Digest, Promise<unknown>>();
  const closing = new AbortController();

  const wholePath = (digest: Digest): string => {
    const hex = digestHex(digest);
    return join(wholeFolder, hex.slice(0, 2), hex);
  };
  const partialPath = (digest: Digest): string => join(partialFolder, digestHex(digest));
  const guarded = async <T>(path: string, run: () => Promise<T>): Promise<T> => {
    try {
      return await run();
    } catch (error) {
      throw storageFailure(error, path);
    }
  };

  await guarded(folder, async () => {
    await mkdir(wholeFolder, { recursive: true, mode: 0o700 });
    await mkdir(partialFolder, { recursive: true, mode: 0o700 });
  });

  const sizeOf = async (path: string): Promise<number | undefined> => {
    try {
      return (await stat(path)).size;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw storageFailure(error, path);
    }
  };

  /** The blob's info; notes in the access time that somebody wants it, which `collect` respects. */
  const wanted = async (digest: Digest): Promise<BlobInfo | undefined> => {
    const path = wholePath(digest);
    try {
      const found = await stat(path);
      // Where the time cannot be noted, nothing can be collected either.
      await utimes(path, clock.now() / 1000, found.mtimeMs / 1000).catch(() => undefined);
      return { digest, sizeBytes: found.size, createdAtMs: Math.round(found.mtimeMs) };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw storageFailure(error, path);
    }
  };

  const finish = async (digest: Digest, file: FileHandle): Promise<BlobInfo> => {
    const partial = partialPath(digest);
    const path = wholePath(digest);
    const hash = createHash('sha256');
    await pipeline(file.createReadStream({ start: 0, autoClose: false }), hash);
    if (`sha256:${hash.digest('hex')}` !== digest) {
      await rm(partial, { force: true });
      throw new Failure('bundle_invalid', {
        message: `The uploaded bytes do not have the digest ${digest}; the upload was thrown away.`,
        hint: 'Upload it again from the start.',
        details: { digest },
      });
    }
    const nowMs = clock.now();
    await file.utimes(nowMs / 1000, nowMs / 1000);
    await file.sync();
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await rename(partial, path);
    await syncFolder(dirname(path));
    await syncFolder(wholeFolder);
    return { digest, sizeBytes: (await file.stat()).size, createdAtMs: nowMs };
  };

  const uploadExclusively = async (digest: Digest, upload: Upload): Promise<BlobInfo | undefined> => {
    const path = partialPath(digest);
    const offset = (await sizeOf(path)) ?? 0;
    if (offset !== upload.offset) throw wrongOffset(digest, offset);
    const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      await receiveBody({ file, offset, body: upload.body, maxBytes, idleTimeoutMs, clock, signal: closing.signal });
      if (upload.final) return await finish(digest, file);
      await file.utimes(clock.now() / 1000, clock.now() / 1000);
      await file.sync();
      if (offset === 0) await syncFolder(partialFolder);
      return undefined;
    } catch (error) {
      // Too large can never become right, and on a full disk the space is needed by others; all else can be gone on with.
      if (error instanceof Failure ? error.code === 'too_large' : isFull(error)) await rm(path, { force: true });
      throw error;
    } finally {
      await file.close();
    }
  };

  const upload = async (digest: Digest, what: Upload): Promise<BlobInfo | undefined> => {
    digestHex(digest);
    if (closing.signal.aborted) throw closedFailure();
    const present = await wanted(digest);
    if (present !== undefined) {
      // Nobody needs these bytes; what still comes, or breaks, is let go.
      what.body.on('error', () => undefined).resume();
      return present;
    }
    if (busy.has(digest)) {
      throw new Failure('conflict', {
        message: `Another upload of ${digest} is under way.`,
        hint: 'Wait for it to end, then go on from where it stopped.',
        details: { digest },
      });
    }
    if (busy.size >= maxUploads) throw new Failure('rate_limited', { message: `${maxUploads} uploads are under way already.` });
    const running = guarded(partialPath(digest), () => uploadExclusively(digest, what));
    busy.set(digest, running);
    try {
      return await running;
    } finally {
      busy.delete(digest);
    }
  };

  return {
    stat: wanted,
    uploadOffset: async (digest) => (await sizeOf(partialPath(digest))) ?? 0,
    upload,
    read: async (digest, range) => {
      const path = wholePath(digest);
      let file: FileHandle;
      try {
        file = await open(path, 'r');
      } catch (error) {
        throw isMissing(error)
          ? new Failure('not_found', { message: `There is no blob ${digest}.`, details: { digest } })
          : storageFailure(error, path);
      }
      return await readRange(file, digest, range);
    },
    list: () => listWhole(wholeFolder),
    collect: async ({ keep, olderThanMs }) => {
      const before = clock.now() - olderThanMs;
      let deleted = 0;
      let freedBytes = 0;
      const drop = async (digest: Digest, path: string): Promise<void> => {
        if (busy.has(digest)) return;
        const found = await stat(path);
        if (Math.max(found.mtimeMs, found.atimeMs) >= before) return;
        await rm(path, { force: true });
        deleted += 1;
        freedBytes += found.size;
      };
      await guarded(folder, async () => {
        for await (const blob of listWhole(wholeFolder)) if (!keep.has(blob.digest)) await drop(blob.digest, wholePath(blob.digest));
        for await (const digest of listDigests(partialFolder)) await drop(digest, partialPath(digest));
      });
      return { deleted, freedBytes };
    },
    usage: async () =>
      await guarded(folder, async () => {
        let bytes = 0;
        for await (const blob of listWhole(wholeFolder)) bytes += blob.sizeBytes;
        for await (const digest of listDigests(partialFolder)) bytes += (await sizeOf(partialPath(digest))) ?? 0;
        return bytes;
      }),
    close: async () => {
      closing.abort(closedFailure());
      await Promise.allSettled(busy.values());
    },
  };
}

interface Upload {
  readonly offset: number;
  readonly final: boolean;
  readonly body: Readable;
}

function wrongOffset(digest: Digest, offset: number): Failure {
  return new Failure('conflict', {
    message: `The upload of ${digest} goes on at byte ${offset}.`,
    hint: 'Send the bytes from that offset on.',
    details: { digest, offset },
  });
}

function closedFailure(): Failure {
  return new Failure('unavailable', { message: 'The blob store is closed.' });
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
