// The soft disk quota: what a folder holds, measured now and then. Links are counted, never followed; hard links count once.

import { lstat, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { formatBytes } from '../model/quantity.ts';

/** Entries after which a measure is broken off and taken as far as it came. */
const MAX_ENTRIES = 500_000;

export async function measureFolder(folder: string, signal: AbortSignal): Promise<number> {
  const counted = new Set<string>();
  const pending = [folder];
  let bytes = 0;
  let entries = 0;
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    signal.throwIfAborted();
    const handle = await opendir(path).catch(() => undefined);
    if (handle === undefined) continue;
    for await (const entry of handle) {
      entries += 1;
      if (entries > MAX_ENTRIES) return bytes;
      const inner = join(path, entry.name);
      if (entry.isDirectory()) pending.push(inner);
      const stats = await lstat(inner).catch(() => undefined);
      if (stats === undefined) continue;
      if (stats.nlink > 1 && !stats.isDirectory()) {
        const identity = `${stats.dev}:${stats.ino}`;
        if (counted.has(identity)) continue;
        counted.add(identity);
      }
      bytes += stats.blocks * 512;
    }
  }
  return bytes;
}

/** The first quota that is exceeded, in words; null where none is. A quota of 0 is none. */
export async function overQuota(
  quotas: readonly { readonly path: string; readonly name: string; readonly bytes: number }[],
  signal: AbortSignal,
): Promise<string | null> {
  for (const quota of quotas) {
    if (quota.bytes <= 0) continue;
    const used = await measureFolder(quota.path, signal);
    if (used > quota.bytes) return `It filled ${quota.name}: ${formatBytes(used)} of at most ${formatBytes(quota.bytes)}.`;
  }
  return null;
}
