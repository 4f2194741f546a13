// Bundles on this machine, by digest: fetched once, verified before anything reads them, collected when nobody used them for long.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Clock } from '../lib/clock.ts';
import { Failure, isFailure } from '../lib/failure.ts';
import { unpackBundle } from '../sys/bundle-unpack.ts';
import type { AgentLink } from './link.ts';

const READ_BYTES = 256 * 1024;

export interface BundleCache {
  /** Unpacks the bundle into an empty folder. `bundle_invalid` where its content is refused, `unreachable` where it cannot be fetched. */
  unpack(digest: string, folder: string, signal: AbortSignal): Promise<void>;
  /** One, whole and verified; in use while a stream of it is open. */
  open(digest: string, signal: AbortSignal): Promise<CachedBlob>;
  /** Deletes what was not used for `maxAgeMs`, then the longest unused until at most `maxBytes` are left. */
  collect(): Promise<void>;
}

export interface CachedBlob {
  readonly sizeBytes: number;
  /** Its bytes, the first and the last included. */
  readonly body: (start: number, end: number) => Readable;
}

export interface BundleCacheOptions {
  readonly folder: string;
  readonly link: Pick<AgentLink, 'fetchBlob'>;
  readonly clock: Clock;
  readonly maxBytes: number;
  readonly maxAgeMs: number;
}

export function createBundleCache(options: BundleCacheOptions): BundleCache {
  const { folder, clock } = options;
  const fetching = new Map<string, Promise<void>>();
  const inUse = new Map<string, number>();
  const pathOf = (digest: string): string => join(folder, digest.replace(':', '-'));

  const download = async (digest: string, signal: AbortSignal): Promise<void> => {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const part = `${pathOf(digest)}.part`;
    const have = (await sizeOf(part)) ?? 0;
    // All of it had come when this program was killed.
    if (have > 0 && (await digestOf(part)) === digest) return await rename(part, pathOf(digest));
    const body = await options.link.fetchBlob(digest, have, signal).catch(async (error: unknown) => {
      // There is nothing behind what is here, so it is not what was asked for.
      if (have > 0 && isFailure(error, 'invalid_input')) await rm(part, { force: true });
      throw error;
    });
    // Chunk by chunk, so that everything that came before a break is on disk for the next try.
    const file = await open(part, 'a', 0o600);
    try {
      for await (const chunk of body.iterator({ destroyOnReturn: true })) {
        signal.throwIfAborted();
        await file.appendFile(chunk);
      }
    } finally {
      await file.close();
    }
    const found = await digestOf(part);
    if (found !== digest) {
      await rm(part, { force: true });
      throw new Failure('unreachable', { message: `The bundle ${digest} came damaged from control: its bytes have the digest ${found}.` });
    }
    await rename(part, pathOf(digest));
  };

  const provide = async (digest: string, signal: AbortSignal): Promise<string> => {
    const path = pathOf(digest);
    if ((await sizeOf(path)) === undefined) {
      const going = fetching.get(digest) ?? download(digest, signal).finally(() => fetching.delete(digest));
      fetching.set(digest, going);
      await going;
    }
    const now = new Date(clock.now());
    await utimes(path, now, now);
    return path;
  };

  const hold = (digest: string): void => void inUse.set(digest, (inUse.get(digest) ?? 0) + 1);
  const letGo = (digest: string): void => {
    const left = (inUse.get(digest) ?? 1) - 1;
    if (left === 0) inUse.delete(digest);
    else inUse.set(digest, left);
  };

  return {
    unpack: async (digest, target, signal) => {
      hold(digest);
      try {
        const path = await provide(digest, signal);
        await unpackBundle(createReadStream(path, { highWaterMark: READ_BYTES }), target, { signal });
      } finally {
        letGo(digest);
      }
    },
    open: async (digest, signal) => {
      const path = await provide(digest, signal);
      return {
        sizeBytes: (await stat(path)).size,
        body: (start, end) => {
          hold(digest);
          return createReadStream(path, { highWaterMark: READ_BYTES, start, end }).once('close', () => letGo(digest));
        },
      };
    },
    collect: async () => {
      const busy = new Set([...inUse.keys()].map(pathOf));
      const files: { path: string; bytes: number; usedAtMs: number }[] = [];
      for (const name of await readdir(folder).catch(() => [])) {
        const path = join(folder, name);
        const stats = await stat(path).catch(() => undefined);
        const digestPath = path.endsWith('.part') ? path.slice(0, -'.part'.length) : path;
        if (stats?.isFile() === true && !busy.has(digestPath)) files.push({ path, bytes: stats.size, usedAtMs: stats.mtimeMs });
      }
      files.sort((a, b) => b.usedAtMs - a.usedAtMs);
      let keptBytes = 0;
      for (const file of files) {
        keptBytes += file.bytes;
        if (keptBytes > options.maxBytes || clock.now() - file.usedAtMs > options.maxAgeMs) {
          await rm(file.path, { force: true });
          keptBytes -= file.bytes;
        }
      }
    },
  };
}

const sizeOf = (path: string): Promise<number | undefined> =>
  stat(path).then(
    (stats) => stats.size,
    () => undefined,
  );

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return `sha256:${hash.digest('hex')}`;
}
