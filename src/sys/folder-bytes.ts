// How much disk a folder takes, measured within bounds: a quota without help from the kernel can only look now and then.

import type { Dir } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';

export interface FolderSize {
  /** Blocks on disk, as `du` counts; a file with several names counts once per name. */
  readonly bytes: number;
  readonly entries: number;
  /** False: it stopped at a bound, so there is at least this much. */
  readonly complete: boolean;
}

export interface FolderBytesOptions {
  /** Stops after this many entries (default 1,000,000). */
  readonly maxEntries?: number;
  /** Stops as soon as this much is found: enough to say that a quota is exceeded. */
  readonly maxBytes?: number;
  readonly signal?: AbortSignal;
}

const STAT_BATCH = 32;

async function openOrNull(folder: string): Promise<Dir | null> {
  try {
    return await opendir(folder);
  } catch {
    return null; // deleted meanwhile, or closed to us
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await lstat(path)).blocks * 512;
  } catch {
    return 0; // deleted meanwhile
  }
}

/** Measures without following symlinks. What changes during the walk may be counted or not. */
export async function folderBytes(folder: string, options: FolderBytesOptions = {}): Promise<FolderSize> {
  const maxEntries = options.maxEntries ?? 1_000_000;
  const maxBytes = options.maxBytes ?? Infinity;
  const waiting = [folder];
  let bytes = await sizeOf(folder);
  let entries = 0;
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const listing = await openOrNull(next);
    if (listing === null) continue;
    let batch: string[] = [];
    const count = async (): Promise<void> => {
      for (const size of await Promise.all(batch.map(sizeOf))) bytes += size;
      batch = [];
    };
    for await (const entry of listing) {
      entries += 1;
      const path = join(next, entry.name);
      if (entry.isDirectory()) waiting.push(path);
      batch.push(path);
      if (batch.length >= STAT_BATCH) await count();
      if (entries >= maxEntries || bytes > maxBytes || options.signal?.aborted === true) return { bytes, entries, complete: false };
    }
    await count();
  }
  return { bytes, entries, complete: bytes <= maxBytes };
}
