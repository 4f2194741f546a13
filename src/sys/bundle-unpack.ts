// Unpacks an archive that may be hostile. Nothing outside the target is ever touched: links are made last, after all of them together
// have been found to stay inside, so that no write can go through one; and every count and size has a bound that is checked as it grows.

import { constants } from 'node:fs';
import { chmod, link, mkdir, open, readdir, symlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../lib/failure.ts';
import { bundleEntries, entryPath, invalidEntry, storageFailure } from './bundle-read.ts';
import type { ArchiveEntry } from './bundle-read.ts';
import { BUNDLE_LIMITS } from './bundle-limits.ts';
import type { BundleLimits } from './bundle-limits.ts';
import { findEscapingLink } from './bundle-links.ts';

export interface UnpackedBundle {
  /** Files, folders and links that the archive names. */
  readonly entries: number;
  /** Bytes of all files. */
  readonly sizeBytes: number;
}

export interface UnpackOptions {
  readonly limits?: Partial<BundleLimits>;
  readonly signal?: AbortSignal;
}

/** Small files written at the same time; each is held in memory whole. */
const PARALLEL_WRITES = 16;
const SMALL_FILE_BYTES = 64 * 1024;
const CREATE_ONLY = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/**
 * Unpacks a tar or gzipped tar into `targetFolder`, which is made, or must be empty. Modes become 0644 or 0755; owners and times of the
 * archive do not count. Rejects with `bundle_invalid` (naming the entry), `too_large` (naming the bound), `exists` (the target is not
 * empty) or `storage_failed`; what was unpacked until then stays for the caller to remove.
 */
export async function unpackBundle(
  stream: AsyncIterable<Uint8Array>,
  targetFolder: string,
  options: UnpackOptions = {},
): Promise<UnpackedBundle> {
  const limits = { ...BUNDLE_LIMITS, ...options.limits };
  await prepareTarget(targetFolder);
  const unpacking = createUnpacking(targetFolder);
  let sizeBytes = 0;
  try {
    for await (const entry of bundleEntries(stream, limits, options.signal)) {
      sizeBytes += entry.header.size;
      await unpacking.take(entry);
    }
    await unpacking.finish();
  } finally {
    await unpacking.settled();
  }
  return { entries: unpacking.count(), sizeBytes };
}

async function prepareTarget(targetFolder: string): Promise<void> {
  await storageFailure(targetFolder, mkdir(targetFolder, { recursive: true, mode: 0o755 }));
  const [present] = await storageFailure(targetFolder, readdir(targetFolder));
  if (present !== undefined) {
    throw new Failure('exists', {
      message: `The folder ${targetFolder} is not empty: it holds ${present}.`,
      details: { path: targetFolder },
    });
  }
}

interface Unpacking {
  take(entry: ArchiveEntry): Promise<void>;
  /** Makes the links. Called once, when all entries were taken. */
  finish(): Promise<void>;
  /** Resolves when no write is under way, whatever became of it. */
  settled(): Promise<void>;
  count(): number;
}

function createUnpacking(targetFolder: string): Unpacking {
  const kinds = new Map<string, 'file' | 'folder' | 'link'>();
  const links = new Map<string, string>();
  const writing = new Set<Promise<void>>();
  /** Modes that new files get as asked for. */
  const plainModes = new Set<number>();
  let failure: unknown = null;
  let count = 0;

  const claim = (path: string, kind: 'file' | 'link'): void => {
    if (kinds.has(path)) throw invalidEntry(path, 'is in the archive twice');
    kinds.set(path, kind);
  };
  /** Makes every folder down to `path`; each of them must be a real folder of this archive. */
  const ensureFolder = async (path: string): Promise<void> => {
    const known = kinds.get(path);
    if (path === '' || known === 'folder') return;
    if (known !== undefined) throw invalidEntry(path, `is a ${known} and a folder at the same time`);
    await ensureFolder(parentOf(path));
    kinds.set(path, 'folder');
    const folder = join(targetFolder, path);
    await storageFailure(path, mkdir(folder, 0o755));
    await storageFailure(path, chmod(folder, 0o755));
  };
  const settled = async (): Promise<void> => {
    while (writing.size > 0) await Promise.all(writing);
  };
  const throwLateFailure = (): void => {
    if (failure !== null) throw failure;
  };
  /** Lets a small write go on in the background, at most so many at a time. */
  const inBackground = async (write: Promise<void>): Promise<void> => {
    const tracked = write
      .catch((error: unknown) => {
        failure ??= error;
      })
      .then(() => {
        writing.delete(tracked);
      });
    writing.add(tracked);
    if (writing.size >= PARALLEL_WRITES) await Promise.race(writing);
    throwLateFailure();
  };

  const takeFile = async (entry: ArchiveEntry, path: string): Promise<void> => {
    claim(path, 'file');
    await ensureFolder(parentOf(path));
    const mode = ((entry.header.mode ?? 0) & 0o111) === 0 ? 0o644 : 0o755;
    const file = join(targetFolder, path);
    if (entry.header.size > SMALL_FILE_BYTES) {
      await writeFile(path, file, mode, plainModes, entry.body);
      return;
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of entry.body) chunks.push(chunk);
    await inBackground(writeFile(path, file, mode, plainModes, chunks));
  };

  const takeHardLink = async (entry: ArchiveEntry, path: string, limits: BundleLimits): Promise<void> => {
    const target = entryPath(entry.header.linkname ?? '', limits);
    if (target === null || kinds.get(target) !== 'file') throw invalidEntry(path, 'is a hard link to something that is no file before it');
    claim(path, 'file');
    await ensureFolder(parentOf(path));
    await settled();
    throwLateFailure();
    await storageFailure(path, link(join(targetFolder, target), join(targetFolder, path)));
  };

  return {
    take: async (entry) => {
      const { path, limits } = entry;
      if (path === null) return;
      count += 1;
      const type: string = entry.header.type ?? 'file';
      switch (type) {
        case 'directory':
          await ensureFolder(path);
          return;
        case 'file':
          await takeFile(entry, path);
          return;
        case 'symlink': {
          const target = entry.header.linkname ?? '';
          if (target === '' || target.includes('\u0000') || Buffer.byteLength(target) > limits.maxPathBytes) {
            throw invalidEntry(path, 'is a link without a usable target');
          }
          claim(path, 'link');
          await ensureFolder(parentOf(path));
          links.set(path, target);
          return;
        }
        case 'link':
          await takeHardLink(entry, path, limits);
          return;
        default:
          throw invalidEntry(path, `is a ${type}, which a bundle may not hold`);
      }
    },
    finish: async () => {
      await settled();
      throwLateFailure();
      const escaping = findEscapingLink(links);
      if (escaping !== null) throw invalidEntry(escaping, `is a link that leads out of the bundle, to ${links.get(escaping) ?? ''}`);
      for (const [path, target] of links) await storageFailure(path, symlink(target, join(targetFolder, path)));
    },
    settled,
    count: () => count,
  };
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash === -1 ? '' : path.slice(0, slash);
}

/** Only what the disk says becomes `storage_failed`; what the source of the chunks throws goes on as it is. */
async function writeFile(
  path: string,
  file: string,
  mode: number,
  plainModes: Set<number>,
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const handle: FileHandle = await storageFailure(path, open(file, CREATE_ONLY, mode));
  try {
    for await (const chunk of chunks) await storageFailure(path, handle.writeFile(chunk));
    if (!plainModes.has(mode)) await storageFailure(path, setMode(handle, mode, plainModes));
  } finally {
    await handle.close();
  }
}

/** The process's umask must not decide who can read an App's files; where it does not, later files of this mode need no further call. */
async function setMode(handle: FileHandle, mode: number, plainModes: Set<number>): Promise<void> {
  if (((await handle.stat()).mode & 0o7777) === mode) plainModes.add(mode);
  else await handle.chmod(mode);
}
