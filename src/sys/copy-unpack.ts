// Puts what is copied into a folder that is there, over what is there. Never through a link, whoever may write in that folder meanwhile;
// a file appears whole or not at all, so that a copy that breaks off leaves nothing half.

import { constants } from 'node:fs';
import { link, lstat, open, rename, symlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, isFailure, messageOf } from '../lib/failure.ts';
import { newToken } from '../lib/id.ts';
import type { CopyEntry } from './copy-tar.ts';
import { createDescent } from './open-folder.ts';
import type { OpenFolder } from './open-folder.ts';

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

export interface CopyReport {
  readonly files: number;
  readonly bytes: number;
}

/**
 * Rejects with what the entries throw, or `storage_failed` with the path.
 * @param owner of what is made; null: ourselves
 */
export async function unpackCopy(
  entries: AsyncIterable<CopyEntry>,
  folder: OpenFolder,
  owner: { readonly uid: number; readonly gid: number } | null,
): Promise<CopyReport> {
  const descent = createDescent(folder);
  /** Modes come last: a folder may forbid its own filling. */
  const modes: { readonly parts: readonly string[]; readonly mode: number }[] = [];
  let files = 0;
  let bytes = 0;
  const own = async (made: OpenFolder): Promise<void> => {
    await made.handle.chmod(0o755);
    if (owner !== null) await made.handle.chown(owner.uid, owner.gid);
  };

  const take = async (entry: CopyEntry): Promise<void> => {
    const parts = entry.path.split('/');
    const name = parts.at(-1) ?? '';
    if (entry.kind === 'folder') {
      const there = await descent.enter(parts.slice(0, -1), own);
      const isNew = (await lstat(join(there.path, name)).catch(() => null)) === null;
      await descent.enter(parts, own);
      if (isNew) modes.push({ parts, mode: entry.mode });
      return;
    }
    const { path } = await descent.enter(parts.slice(0, -1), own);
    const place = join(path, name);
    // In the same folder, so that one step puts it in its place.
    const draft = join(path, `.${newToken('copy')}`);
    try {
      switch (entry.kind) {
        case 'file': {
          const file = await open(draft, NEW_FILE, 0o600);
          try {
            for await (const chunk of entry.body) {
              await file.writeFile(chunk);
              bytes += chunk.length;
            }
            if (owner !== null) await file.chown(owner.uid, owner.gid);
            await file.chmod(entry.mode);
            await file.utimes(entry.modifiedMs / 1000, entry.modifiedMs / 1000);
          } finally {
            await file.close();
          }
          break;
        }
        case 'hardlink':
          await linkTo(folder, entry.target, draft);
          break;
        case 'link':
          await symlink(entry.target, draft);
      }
      await rename(draft, place);
      files += 1;
    } catch (error) {
      await unlink(draft).catch(() => undefined);
      throw error;
    }
  };

  try {
    let path = 'The folder';
    try {
      for await (const entry of entries) {
        ({ path } = entry);
        await take(entry);
      }
      for (const { parts, mode } of modes.toReversed()) await (await descent.enter(parts)).handle.chmod(mode);
    } catch (error) {
      if (isFailure(error) || !isSystemError(error)) throw error;
      throw new Failure('storage_failed', { message: `${path} cannot be written: ${messageOf(error)}.`, details: { path }, cause: error });
    }
  } finally {
    await descent.close();
  }
  return { files, bytes };
}

/** Another name for a file that this copy has made, found by descriptors again. */
async function linkTo(root: OpenFolder, target: string, draft: string): Promise<void> {
  const parts = target.split('/');
  const again = createDescent(root);
  try {
    const { path } = await again.enter(parts.slice(0, -1));
    await link(join(path, parts.at(-1) ?? ''), draft);
  } finally {
    await again.close();
  }
}

const isSystemError = (error: unknown): boolean => error instanceof Error && 'syscall' in error;
