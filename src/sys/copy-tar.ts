// What a copy of files is on its way: a tar whose entries all begin with one name, which whoever receives it replaces. Here is how one is
// made of a place on disk, and how one that may be hostile is read. Links stay links and are never followed.

import { constants } from 'node:fs';
import type { Stats } from 'node:fs';
import { lstat, open, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure, messageOf } from '../lib/failure.ts';
import { escapingLinks } from './bundle-links.ts';
import { bundleEntries, entryPath, invalidEntry } from './bundle-read.ts';
import { BUNDLE_LIMITS } from './bundle-limits.ts';
import type { BundleLimits } from './bundle-limits.ts';
import { entryHeader, TAR_END, tarPadding } from './bundle-tar.ts';
import { openFolder } from './open-folder.ts';
import type { OpenFolder } from './open-folder.ts';

/** Of files there may be as many bytes as there is room for. */
const COPY_LIMITS: BundleLimits = { ...BUNDLE_LIMITS, maxBytes: Number.MAX_SAFE_INTEGER };
const READ_BYTES = 128 * 1024;
const MAX_DEPTH = 200;
const PERMISSIONS = 0o777;
const GONE = 'went away meanwhile, or its name is no text';

/** Programs make and delete files while their folder is copied. */
const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';

/** What is not copied, and why. */
export type LeaveOut = (path: string, why: string) => void;

export interface PackCopyOptions {
  /** Of entries, in place of the name on disk. */
  readonly as: string;
  /** User id that files must have; null: any. */
  readonly owner: number | null;
  readonly leaveOut: LeaveOut;
}

/** The tar of one thing in a folder. Memory is bounded; a file that changes its size meanwhile rejects with `conflict`. */
export async function* packCopy(folder: OpenFolder, name: string, options: PackCopyOptions): AsyncGenerator<Uint8Array, void, undefined> {
  let entries = 0;
  async function* pack(from: OpenFolder, own: string, path: string, depth: number): AsyncGenerator<Uint8Array, void, undefined> {
    entries += 1;
    if (entries > COPY_LIMITS.maxEntries)
      throw new Failure('too_large', { message: `One copy holds at most ${COPY_LIMITS.maxEntries} files, folders and links.` });
    if (depth > MAX_DEPTH)
      throw new Failure('too_large', { message: `Folders are nested more than ${MAX_DEPTH} deep at ${path.slice(0, 200)}.` });
    const place = join(from.path, own);
    const info = await lstat(place).catch((error: unknown) => {
      if (depth === 0 || !isMissing(error)) throw error;
      return null;
    });
    if (info === null) {
      options.leaveOut(path, GONE);
      return;
    }
    const isForeign = options.owner !== null && info.uid !== options.owner;
    if (info.isSymbolicLink()) {
      yield entryHeader({ ...fieldsOf(path, info), kind: 'link', target: await readlink(place) });
    } else if (isForeign) {
      options.leaveOut(path, 'does not belong to the App');
    } else if (info.isDirectory()) {
      const inner = await openFolder(place);
      try {
        yield entryHeader({ ...fieldsOf(path, info), kind: 'folder' });
        for (const each of (await readdir(inner.path)).sort()) yield* pack(inner, each, `${path}/${each}`, depth + 1);
      } finally {
        await inner.handle.close();
      }
    } else if (info.isFile()) {
      yield* packFile(place, path, options);
    } else {
      options.leaveOut(path, 'is neither a file nor a folder nor a link');
    }
  }
  yield* pack(folder, name, options.as, 0);
  yield TAR_END;
}

const fieldsOf = (name: string, { mode, mtimeMs }: Stats) => ({
  name,
  mode: mode & PERMISSIONS,
  modifiedMs: mtimeMs,
  sizeBytes: 0,
  target: '',
});

async function* packFile(place: string, path: string, options: PackCopyOptions): AsyncGenerator<Uint8Array, void, undefined> {
  // What became a pipe meanwhile must not make us wait for a writer.
  const file = await open(place, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((cause: unknown) => {
    if (isMissing(cause)) return null;
    throw new Failure('storage_failed', { message: `${path} cannot be read: ${messageOf(cause)}.`, cause });
  });
  if (file === null) {
    options.leaveOut(path, GONE);
    return;
  }
  try {
    const info = await file.stat();
    if (!info.isFile() || (options.owner !== null && info.uid !== options.owner)) {
      options.leaveOut(path, 'was replaced meanwhile');
      return;
    }
    yield entryHeader({ ...fieldsOf(path, info), kind: 'file', sizeBytes: info.size });
    for (let left = info.size; left > 0;) {
      const chunk = Buffer.allocUnsafe(Math.min(left, READ_BYTES));
      const { bytesRead } = await file.read(chunk, 0, chunk.length, null);
      if (bytesRead === 0)
        throw new Failure('conflict', { message: `The file ${path} became shorter while it was copied.`, hint: 'Try again.' });
      left -= bytesRead;
      yield chunk.subarray(0, bytesRead);
    }
    yield tarPadding(info.size);
  } finally {
    await file.close();
  }
}

export type CopyEntry =
  | { readonly kind: 'folder'; readonly path: string; readonly mode: number; readonly modifiedMs: number }
  | {
      readonly kind: 'file';
      readonly path: string;
      readonly mode: number;
      readonly modifiedMs: number;
      readonly sizeBytes: number;
      /** To be read whole before the next entry is asked for. */
      readonly body: AsyncIterable<Uint8Array>;
    }
  /** Another name of a file that came before. */
  | { readonly kind: 'hardlink'; readonly path: string; readonly target: string }
  | { readonly kind: 'link'; readonly path: string; readonly target: string };

export interface ReadCopyOptions {
  /** Replaces the one name that all entries begin with, below which their links stay; null: entries are as they are. */
  readonly as: string | null;
  readonly leaveOut: LeaveOut;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The entries of an archive that may be hostile: relative paths without `..`, permissions without set-user-id, and links last, those that
 * lead out of what is copied left out. Rejects with `bundle_invalid` or `too_large`.
 */
export async function* readCopy(tar: AsyncIterable<Uint8Array>, options: ReadCopyOptions): AsyncGenerator<CopyEntry, void, undefined> {
  const { as, leaveOut } = options;
  const files = new Set<string>();
  const links = new Map<string, string>();
  let top: string | null = null;
  const renamed = (path: string): string => {
    if (as === null) return path;
    const [first = '', ...rest] = path.split('/');
    top ??= first;
    if (first !== top) throw invalidEntry(path, `does not begin with ${top}, as the first one does`);
    return [as, ...rest].join('/');
  };
  for await (const { header, path: found, body } of bundleEntries(tar, COPY_LIMITS, options.signal)) {
    if (found === null) continue;
    const path = renamed(found);
    const common = { path, mode: (header.mode ?? 0) & PERMISSIONS, modifiedMs: timeIn(header.mtime) };
    const type: string = header.type ?? 'file';
    switch (type) {
      case 'directory':
        yield { kind: 'folder', ...common };
        break;
      case 'file':
        files.add(path);
        yield { kind: 'file', ...common, sizeBytes: header.size, body };
        break;
      case 'link': {
        const target = entryPath(header.linkname ?? '', COPY_LIMITS);
        if (target === null || !files.has(renamed(target)))
          throw invalidEntry(path, 'is a hard link to something that is no file before it');
        files.add(path);
        yield { kind: 'hardlink', path, target: renamed(target) };
        break;
      }
      case 'symlink': {
        const target = header.linkname ?? '';
        if (target === '' || target.includes('\u0000') || Buffer.byteLength(target) > COPY_LIMITS.maxPathBytes)
          throw invalidEntry(path, 'is a link without a usable target');
        links.set(path, target);
        break;
      }
      default:
        leaveOut(path, `is a ${type}`);
    }
  }
  // All are found before any goes: what goes through one of them leads out with it.
  const leaving = Array.from(escapingLinks(links, as === null ? 0 : 1));
  for (const path of leaving) {
    leaveOut(path, `is a link that leads out of what is copied, to ${links.get(path) ?? ''}`);
    links.delete(path);
  }
  for (const [path, target] of links) yield { kind: 'link', path, target };
}

/** File systems keep times that no Date can; what is none counts as the beginning of time, as a missing one does. */
function timeIn(time: Date | undefined): number {
  const ms = time?.getTime() ?? 0;
  return Number.isNaN(ms) ? 0 : ms;
}

/** The same entries as a tar, as theirs who own them. */
export async function* writeCopy(
  entries: AsyncIterable<CopyEntry>,
  owner: { readonly uid: number; readonly gid: number },
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const entry of entries) {
    const common = { ...owner, name: entry.path, kind: entry.kind, mode: PERMISSIONS, sizeBytes: 0, target: '' };
    switch (entry.kind) {
      case 'folder':
        yield entryHeader({ ...common, mode: entry.mode, modifiedMs: entry.modifiedMs });
        break;
      case 'file':
        yield entryHeader({ ...common, mode: entry.mode, sizeBytes: entry.sizeBytes, modifiedMs: entry.modifiedMs });
        yield* entry.body;
        yield tarPadding(entry.sizeBytes);
        break;
      case 'hardlink':
      case 'link':
        yield entryHeader({ ...common, target: entry.target });
    }
  }
  yield TAR_END;
}
