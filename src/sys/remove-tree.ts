// Takes and removes folders whose owner may be hostile and at work in them. Each is taken from its owner before it is listed, from the top
// down: from then on nobody else can put a symlink in the place of what was seen, so nothing outside is ever touched.

import { constants } from 'node:fs';
import { lstat, open, readdir, rename, rmdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';

const FOLDER_ITSELF = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const ATTEMPTS = 4;
/** Deeper folders are moved up first, so that no path grows beyond what the system takes. */
const MAX_DEPTH = 12;

function has(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}

async function unlessMissing(work: Promise<void>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!has(error, 'ENOENT')) throw error;
  });
}

/** Makes a folder ours alone. Its name must be safe: in a folder that is ours. */
async function take(folder: string): Promise<void> {
  const handle = await open(folder, FOLDER_ITSELF);
  try {
    if (process.getuid?.() === 0) await handle.chown(0, 0);
    await handle.chmod(0o700);
  } finally {
    await handle.close();
  }
}

/**
 * Takes a folder and all folders in it from their owner, who then can swap none of what is in them for a link. What is read of it
 * afterwards lies inside. The folder that it lies in must be ours; paths that are too long for the system are refused by it.
 */
export async function takeTree(folder: string): Promise<void> {
  await take(folder);
  for (const entry of await readdir(folder, { withFileTypes: true })) if (entry.isDirectory()) await takeTree(join(folder, entry.name));
}

/** Removes the file or folder, if it is there. The folder that it lies in must be ours. Links are removed, never followed. */
export async function removeTree(path: string): Promise<void> {
  let moved = 0;
  const deep: string[] = [];

  const moveUp = async (folder: string): Promise<void> => {
    for (;;) {
      const target = join(path, `.moved-${(moved += 1)}`);
      try {
        await rename(folder, target);
        deep.push(target);
        return;
      } catch (error) {
        // Something there has this name.
        if (!has(error, 'EEXIST', 'ENOTEMPTY', 'ENOTDIR')) throw error;
      }
    }
  };
  const empty = async (folder: string, depth: number): Promise<void> => {
    await take(folder);
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const inner = join(folder, entry.name);
      if (!entry.isDirectory()) await unlessMissing(unlink(inner));
      else if (depth >= MAX_DEPTH) await moveUp(inner);
      else {
        await empty(inner, depth + 1);
        await unlessMissing(rmdir(inner));
      }
    }
  };

  for (let attempt = 1; ; attempt += 1) {
    try {
      const there = await lstat(path);
      if (!there.isDirectory()) return await unlessMissing(unlink(path));
      await empty(path, 0);
      for (let folder = deep.pop(); folder !== undefined; folder = deep.pop()) {
        await empty(folder, 1);
        await unlessMissing(rmdir(folder));
      }
      return await rmdir(path);
    } catch (error) {
      if (has(error, 'ENOENT')) return;
      // A program of ours, where Apps have no users of their own, still writes there.
      if (!has(error, 'ENOTEMPTY', 'EBUSY') || attempt >= ATTEMPTS) throw error;
    }
  }
}
