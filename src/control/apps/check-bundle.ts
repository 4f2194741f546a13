// Looks through an uploaded folder before a Release is made of it, so that what no agent would unpack is refused at once and never starts.

import type { BlobStore } from '../../blob/blob.ts';
import { Failure } from '../../lib/failure.ts';
import { findEscapingLink } from '../../sys/bundle-links.ts';
import { BUNDLE_LIMITS } from '../../sys/bundle-limits.ts';
import { bundleEntries, entryPath, invalidEntry } from '../../sys/bundle-read.ts';

/** A gigabyte from a slow disk. */
const DEADLINE_MS = 120_000;
const KINDS: ReadonlySet<string> = new Set(['file', 'directory', 'symlink', 'link']);

/** Throws `bundle_invalid` or `too_large` naming the entry, `timeout` where it takes too long. Contents of files are not looked at. */
export async function checkBundle(blobs: BlobStore, digest: string): Promise<void> {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const links = new Map<string, string>();
  const taken = createTaken();
  const body = await blobs.read(digest);
  try {
    for await (const { header, path } of bundleEntries(body, BUNDLE_LIMITS, signal)) {
      if (path === null) continue;
      const kind = header.type ?? 'file';
      if (!KINDS.has(kind)) throw invalidEntry(header.name, `is a ${kind}, which no bundle may hold`);
      if (kind === 'link') {
        const target = entryPath(header.linkname ?? '', BUNDLE_LIMITS);
        if (target === null || !taken.isFile(target)) throw invalidEntry(path, 'is a hard link to something that is no file before it');
      }
      taken.take(path, kind === 'directory' ? 'folder' : kind === 'symlink' ? 'link' : 'file');
      if (kind === 'symlink') links.set(path, header.linkname ?? '');
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    throw new Failure('timeout', { message: `The folder could not be read within ${DEADLINE_MS / 1000} s.`, cause: error });
  } finally {
    body.destroy();
  }
  const escaping = findEscapingLink(links);
  if (escaping !== null) throw invalidEntry(escaping, 'is a link that leads out of the folder');
}

type Kind = 'file' | 'folder' | 'link';

/** What stands where: nothing stands twice, and nothing inside of what is no folder. */
function createTaken(): { take(path: string, kind: Kind): void; isFile(path: string): boolean } {
  const kinds = new Map<string, Kind>();
  const takeFolder = (path: string): void => {
    const known = kinds.get(path);
    if (path === '' || known === 'folder') return;
    if (known !== undefined) throw invalidEntry(path, `is a ${known} and a folder at the same time`);
    kinds.set(path, 'folder');
    takeFolder(parentOf(path));
  };
  return {
    take: (path, kind) => {
      if (kind === 'folder') return takeFolder(path);
      if (kinds.has(path)) throw invalidEntry(path, 'is in the archive twice');
      kinds.set(path, kind);
      takeFolder(parentOf(path));
    },
    isFile: (path) => kinds.get(path) === 'file',
  };
}

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));
