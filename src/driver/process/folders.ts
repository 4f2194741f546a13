// Folders and the Node binary as the App's own user needs them: private work folders, passable parents, a node that can be executed.

import { constants, copyFileSync, existsSync, linkSync, lstatSync, mkdirSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { chmod, lchown, lstat, open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { Failure } from '../../lib/failure.ts';
import { closedFolder } from './users.ts';
import type { AppUser } from './users.ts';

const OPEN_FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const BATCH = 32;
const MAX_DEPTH = 200;

/**
 * Gives a folder and all in it to the user, itself last. Walks by descriptors and never through a symlink: where the folder belongs to
 * the App already, a program of it may be changing names under us. `trusted`: nobody but us can have put anything in it.
 */
async function giveTo(folder: string, user: AppUser, trusted: boolean, depth = 0): Promise<void> {
  if (depth > MAX_DEPTH) throw new Failure('bundle_invalid', { message: `Folders are nested more than ${MAX_DEPTH} deep.` });
  const handle = await open(folder, OPEN_FOLDER);
  try {
    const here = `/proc/self/fd/${handle.fd}`;
    const give = async (name: string): Promise<void> => {
      const path = `${here}/${name}`;
      // A second name of a file that is not the App's would hand that file over.
      if (!trusted && (await lstat(path)).nlink > 1) return;
      await lchown(path, user.uid, user.gid);
    };
    const entries = await readdir(here, { withFileTypes: true });
    const files = entries.filter((entry) => !entry.isDirectory());
    for (let at = 0; at < files.length; at += BATCH) await Promise.all(files.slice(at, at + BATCH).map((entry) => give(entry.name)));
    for (const entry of entries) if (entry.isDirectory()) await giveTo(`${here}/${entry.name}`, user, trusted, depth + 1);
    await handle.chown(user.uid, user.gid);
  } finally {
    await handle.close();
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
    await giveTo(folder, user, (await lstat(folder)).uid !== user.uid);
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
