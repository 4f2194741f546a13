// Folders and the Node binary as the App's own user needs them: private work folders, passable parents, a node that can be executed.

import { constants, copyFileSync, existsSync, linkSync, lstatSync, mkdirSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { chmod, lchown, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { closedFolder } from './users.ts';
import type { AppUser } from './users.ts';

/** Gives a folder and all in it to the user; symlinks themselves, never what they point to. */
async function giveTo(folder: string, user: AppUser): Promise<void> {
  const waiting = [folder];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    await lchown(next, user.uid, user.gid);
    for (const entry of await readdir(next, { withFileTypes: true })) {
      const path = join(next, entry.name);
      if (entry.isDirectory()) waiting.push(path);
      else await lchown(path, user.uid, user.gid);
    }
  }
}

/** Lets strangers pass (not read) the folders between the data folder and `folder`. */
async function openWay(dataFolder: string, folder: string): Promise<void> {
  for (let parent = dirname(folder); !relative(dataFolder, parent).startsWith('..') && parent !== dataFolder; parent = dirname(parent)) {
    const { mode } = await stat(parent);
    if ((mode & 0o011) !== 0o011) await chmod(parent, (mode & 0o7777) | 0o011);
  }
}

/** Makes folders, which exist, private to the App's user (null: to ours). */
export async function preparePrivateFolders(dataFolder: string, folders: readonly string[], user: AppUser | null): Promise<void> {
  for (const folder of folders) {
    await chmod(folder, 0o700);
    if (user === null) continue;
    await openWay(dataFolder, folder);
    await giveTo(folder, user);
  }
}

/**
 * A folder for PATH that holds `node`, executable by every App: a symlink, or where the binary is out of other users' reach (root's
 * home) a hard link or copy in the data folder.
 */
export function prepareNode(dataFolder: string, nodeBinary: string, users: boolean): string {
  const folder = join(dataFolder, 'bin');
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const target = join(folder, 'node');
  const reachable = !users || (closedFolder(dirname(nodeBinary)) === null && (statSync(nodeBinary).mode & 0o005) === 0o005);
  const wanted = statSync(nodeBinary);
  if (existsSync(target)) {
    const present = statSync(target);
    const link = lstatSync(target).isSymbolicLink();
    if (link === reachable && present.size === wanted.size && (present.ino === wanted.ino || present.mtimeMs >= wanted.mtimeMs))
      return folder;
  }
  const fresh = join(folder, `.${basename(target)}.${process.pid}`);
  rmSync(fresh, { force: true });
  if (reachable) symlinkSync(nodeBinary, fresh);
  else {
    try {
      linkSync(nodeBinary, fresh);
    } catch {
      copyFileSync(nodeBinary, fresh, constants.COPYFILE_FICLONE);
    }
  }
  renameSync(fresh, target);
  return folder;
}
