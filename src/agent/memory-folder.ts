// A place for what must not lie on a disk, such as secrets: one folder for each Instance, in memory where the machine has that (invariant 8).

import { createHash } from 'node:crypto';
import { lstat, mkdir, readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTree } from '../sys/remove-tree.ts';

const MEMORY_FOLDER = '/dev/shm';

export interface MemoryFolder {
  /** null, or why it lies on a disk. */
  readonly onDisk: string | null;
  /** Of one Instance, whether it is there or not. */
  of(instanceId: string): string;
  remove(instanceId: string): Promise<void>;
  /** Removes what Instances left that are not known. */
  sweep(known: ReadonlySet<string>): Promise<void>;
  /** Gives the place back where no Instance has anything there any more. */
  close(): Promise<void>;
}

/** @param kind what it is for, as the end of its name. @param fallback a folder on disk for machines without memory-backed storage */
export async function createMemoryFolder(dataFolder: string, kind: string, fallback: string): Promise<MemoryFolder> {
  // Named after the data folder, so that several platforms on one machine do not meet.
  const name = createHash('sha256').update(dataFolder).digest('hex').slice(0, 16);
  const inMemory = join(MEMORY_FOLDER, `libra-${name}${kind}`);
  const usable = await ownFolder(inMemory);
  const root = usable ? inMemory : fallback;
  const folder = (id: string): string => join(root, id);
  return {
    onDisk: usable ? null : `${MEMORY_FOLDER} cannot be used`,
    of: folder,
    remove: (instanceId) => removeTree(folder(instanceId)),
    sweep: async (known) => {
      for (const id of await readdir(root).catch(() => [])) {
        if (!known.has(id)) await removeTree(folder(id));
      }
    },
    close: async () => {
      await rmdir(root).catch((error: unknown) => {
        // Instances live on with their files, or there never were any.
        if (!isErrno(error, 'ENOTEMPTY') && !isErrno(error, 'ENOENT')) throw error;
      });
    },
  };
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

/** A folder that is ours: the place is writable for everybody, so one that somebody else made first is not used. */
async function ownFolder(path: string): Promise<boolean> {
  try {
    await mkdir(path, { recursive: true, mode: 0o711 });
    const stats = await lstat(path);
    return stats.isDirectory() && stats.uid === process.getuid?.() && (stats.mode & 0o022) === 0;
  } catch {
    return false;
  }
}
