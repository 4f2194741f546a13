// Packs a folder into a tar file whose bytes depend on nothing but names, contents and the executable bit, so that equal folders have
// equal digests on every machine. Not compressed: a compressor's output differs between versions, and it costs more time than it saves
// on one machine. Memory stays bounded: contents stream into a temporary file.

import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { Failure, messageOf } from '../lib/failure.ts';
import { BUNDLE_LIMITS } from './bundle-limits.ts';
import type { BundleLimits } from './bundle-limits.ts';
import { scanFolder } from './bundle-scan.ts';
import type { BundleEntry } from './bundle-scan.ts';
import { TAR_END, tarHeader, tarPadding } from './bundle-tar.ts';

export interface PackOptions {
  /** Names of files with patterns of what to leave out, weakest first; default `.gitignore`, `.libraignore`. */
  readonly ignoreFiles?: readonly string[];
  /** Names that are left out at any depth, whatever the ignore files say. */
  readonly alwaysIgnore?: readonly string[];
  readonly limits?: Partial<BundleLimits>;
  /** Which of what was found goes in, in the same order; default: all. */
  readonly choose?: (entries: readonly BundleEntry[]) => Promise<readonly BundleEntry[]>;
  /** Where the temporary file is made; default the system's. */
  readonly tempFolder?: string;
  readonly signal?: AbortSignal;
}

/** A developer's folder: what git ignores stays out, and so does what a build makes again. */
const PACK_SOURCE: Required<Pick<PackOptions, 'ignoreFiles' | 'alwaysIgnore'>> = {
  ignoreFiles: ['.gitignore', '.libraignore'],
  alwaysIgnore: ['.git', '.hg', '.svn', 'node_modules', '.venv', '__pycache__', '.DS_Store'],
};

/** The folder after a build: everything, installed packages included. */
export const PACK_RESULT: Required<Pick<PackOptions, 'ignoreFiles' | 'alwaysIgnore'>> = { ignoreFiles: [], alwaysIgnore: ['.git'] };

export interface PackedBundle {
  /** `sha256:` and 64 hex digits, over the tar file. */
  readonly digest: string;
  /** Size of the tar file. */
  readonly sizeBytes: number;
  /** Number of files in it. */
  readonly files: number;
  /** The temporary tar file. */
  readonly path: string;
  /** Its bytes from `start` on (for a resumed upload). */
  openStream(start?: number): Readable;
  /** Deletes the temporary file. Idempotent. */
  remove(): Promise<void>;
}

const WRITE_BYTES = 256 * 1024;
const READ_AHEAD = 16;
const SMALL_FILE_BYTES = 64 * 1024;

type FileEntry = BundleEntry & { readonly kind: 'file' };

/**
 * Packs `folder` into a temporary tar file. Rejects with `bundle_invalid` (naming the entry), `too_large` (naming the bound), `conflict`
 * (a file changed while it was read) or `storage_failed`; then no temporary file is left.
 */
export async function packFolder(folder: string, options: PackOptions = {}): Promise<PackedBundle> {
  const found = await scanFolder(folder, {
    ignoreFiles: options.ignoreFiles ?? PACK_SOURCE.ignoreFiles,
    alwaysIgnore: options.alwaysIgnore ?? PACK_SOURCE.alwaysIgnore,
    limits: { ...BUNDLE_LIMITS, ...options.limits },
  });
  const entries = options.choose === undefined ? found : await options.choose(found);
  const tempFolder = await mkdtemp(join(options.tempFolder ?? tmpdir(), 'libra-bundle-'));
  const remove = (): Promise<void> => rm(tempFolder, { recursive: true, force: true });
  const path = join(tempFolder, 'bundle.tar');
  try {
    const written = await writeTar(folder, entries, path, options.signal);
    return {
      ...written,
      files: entries.filter((entry) => entry.kind === 'file').length,
      path,
      openStream: (start = 0) => createReadStream(path, { start, highWaterMark: WRITE_BYTES }),
      remove,
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function writeTar(
  folder: string,
  entries: readonly BundleEntry[],
  path: string,
  signal: AbortSignal | undefined,
): Promise<{ readonly digest: string; readonly sizeBytes: number }> {
  const hash = createHash('sha256');
  const out = await open(path, 'wx', 0o600);
  const buffer = Buffer.allocUnsafe(WRITE_BYTES);
  let used = 0;
  let sizeBytes = 0;

  const flush = async (): Promise<void> => {
    if (used === 0) return;
    hash.update(buffer.subarray(0, used));
    await out.writeFile(buffer.subarray(0, used)).catch((error: unknown) => {
      throw new Failure('storage_failed', { message: `The bundle cannot be written to ${path}: ${messageOf(error)}.`, cause: error });
    });
    sizeBytes += used;
    used = 0;
  };
  const put = async (bytes: Uint8Array): Promise<void> => {
    for (let offset = 0; offset < bytes.length;) {
      const count = Math.min(bytes.length - offset, buffer.length - used);
      buffer.set(bytes.subarray(offset, offset + count), used);
      used += count;
      offset += count;
      if (used === buffer.length) await flush();
    }
  };
  /** Reads straight into the write buffer. A file that grows meanwhile is packed as long as it was. */
  const putFile = async (entry: FileEntry): Promise<void> => {
    const file = await openFile(folder, entry.path);
    try {
      for (let left = entry.sizeBytes; left > 0;) {
        const { bytesRead } = await file.read(buffer, used, Math.min(left, buffer.length - used), null);
        if (bytesRead === 0) throw changed(entry.path);
        used += bytesRead;
        left -= bytesRead;
        if (used === buffer.length) await flush();
      }
    } finally {
      await file.close();
    }
  };

  try {
    const small = readAhead(folder, entries);
    for (const [index, entry] of entries.entries()) {
      signal?.throwIfAborted();
      await put(tarHeader(entry));
      if (entry.kind !== 'file') continue;
      const contents = small(index);
      if (contents === null) await putFile(entry);
      else await put(await contents);
      await put(tarPadding(entry.sizeBytes));
    }
    await put(TAR_END);
    await flush();
  } finally {
    await out.close();
  }
  return { digest: `sha256:${hash.digest('hex')}`, sizeBytes };
}

/** Small files are read a few ahead of the writer, because their cost is the number of calls; gives null for all others. */
function readAhead(folder: string, entries: readonly BundleEntry[]): (index: number) => Promise<Uint8Array> | null {
  const ahead = new Map<number, Promise<Uint8Array>>();
  let next = 0;
  return (index) => {
    for (next = Math.max(next, index); next < entries.length && next < index + READ_AHEAD; next += 1) {
      const entry = entries[next];
      if (entry?.kind !== 'file' || entry.sizeBytes > SMALL_FILE_BYTES) continue;
      const contents = readSmall(folder, entry);
      // Told when its turn comes; until then it is no unhandled rejection.
      contents.catch(() => undefined);
      ahead.set(next, contents);
    }
    const contents = ahead.get(index) ?? null;
    ahead.delete(index);
    return contents;
  };
}

async function readSmall(folder: string, entry: FileEntry): Promise<Uint8Array> {
  const contents = Buffer.allocUnsafe(entry.sizeBytes);
  if (entry.sizeBytes === 0) return contents;
  const file = await openFile(folder, entry.path);
  try {
    let at = 0;
    while (at < contents.length) {
      const { bytesRead } = await file.read(contents, at, contents.length - at, null);
      if (bytesRead === 0) throw changed(entry.path);
      at += bytesRead;
    }
  } finally {
    await file.close();
  }
  return contents;
}

async function openFile(folder: string, path: string): Promise<FileHandle> {
  try {
    return await open(join(folder, path), constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    throw new Failure('bundle_invalid', {
      message: `The file ${path} cannot be read: ${messageOf(error)}.`,
      hint: 'Make it readable, or leave it out in .libraignore.',
      details: { path },
      cause: error,
    });
  }
}

function changed(path: string): Failure {
  return new Failure('conflict', { message: `The file ${path} changed while it was being packed.`, hint: 'Try again.', details: { path } });
}
