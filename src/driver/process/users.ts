// One unprivileged user id per App where librad is root, so that Apps cannot read each other's files or signal each other. Ids are
// numbers without a name, given once and never again to another App.

import { existsSync, lstatSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Failure } from '../../lib/failure.ts';
import { readJsonFile, replaceFileSync } from '../../sys/durable-file.ts';

export interface AppUser {
  readonly uid: number;
  readonly gid: number;
}

export interface AppUsers {
  /** `enforced`, or why every App runs as the platform's own user. */
  readonly enforcement: string;
  /** The App's user; null where users are not enforced. */
  of(appId: string): AppUser | null;
}

const RANGE = 60_000;

/** The first folder on the way to `path` that strangers may not pass; null: all may. */
export function closedFolder(path: string): { readonly folder: string; readonly mode: number } | null {
  const way: string[] = [];
  for (let folder = path; ; folder = dirname(folder)) {
    way.unshift(folder);
    if (dirname(folder) === folder) break;
  }
  for (const folder of way) {
    const { mode } = lstatSync(folder);
    if ((mode & 0o001) === 0) return { folder, mode: mode & 0o777 };
  }
  return null;
}

function readUsers(file: string): Map<string, number> {
  const users = new Map<string, number>();
  if (!existsSync(file)) return users;
  const value = readJsonFile(file);
  if (typeof value !== 'object' || value === null) {
    // Guessing would hand one App's files to another.
    throw new Failure('storage_failed', {
      message: `${file} cannot be read: ${readFileSync(file, 'utf8').length} characters that are not JSON.`,
      hint: `Restore it from a backup. It says which user id belongs to which App.`,
    });
  }
  for (const [appId, uid] of Object.entries(value)) if (typeof uid === 'number') users.set(appId, uid);
  return users;
}

/** @param firstUid begin of a range of 60,000 ids that nothing else on the machine uses */
export function createAppUsers(dataFolder: string, firstUid = 200_000): AppUsers {
  const none = (enforcement: string): AppUsers => ({ enforcement, of: () => null });
  if (process.geteuid?.() !== 0) return none('librad is not root: Apps run as its own user');
  const closed = closedFolder(dataFolder);
  if (closed !== null)
    return none(`${closed.folder} has mode 0${closed.mode.toString(8)}: other users cannot reach the Apps' folders in it`);
  const file = join(dataFolder, 'users.json');
  let users = readUsers(file);
  return {
    enforcement: 'enforced',
    of: (appId) => {
      let uid = users.get(appId);
      if (uid === undefined) {
        // Drivers share the file: another one may have given ids meanwhile.
        users = readUsers(file);
        uid = users.get(appId);
      }
      if (uid === undefined) {
        uid = Math.max(firstUid - 1, ...users.values()) + 1;
        if (uid >= firstUid + RANGE) {
          throw new Failure('no_capacity', { message: `All ${RANGE} user ids from ${firstUid} on are given to Apps.` });
        }
        users.set(appId, uid);
        replaceFileSync(file, JSON.stringify(Object.fromEntries(users)));
      }
      return { uid, gid: uid };
    },
  };
}
