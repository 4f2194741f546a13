// Looks through an uploaded folder before a Release is made of it, so that what no agent would unpack is refused at once and never starts.

import type { BlobStore } from '../../blob/blob.ts';
import { Failure } from '../../lib/failure.ts';
import { findEscapingLink } from '../../sys/bundle-links.ts';
import { BUNDLE_LIMITS } from '../../sys/bundle-limits.ts';
import { bundleEntries, invalidEntry } from '../../sys/bundle-read.ts';

/** A gigabyte from a slow disk. */
const DEADLINE_MS = 120_000;
const KINDS: ReadonlySet<string> = new Set(['file', 'directory', 'symlink', 'link']);

/** Throws `bundle_invalid` or `too_large` naming the entry, `timeout` where it takes too long. Contents of files are not looked at. */
export async function checkBundle(blobs: BlobStore, digest: string): Promise<void> {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const links = new Map<string, string>();
  const body = await blobs.read(digest);
  try {
    for await (const { header, path } of bundleEntries(body, BUNDLE_LIMITS, signal)) {
      if (path === null) continue;
      const kind = header.type ?? 'file';
      if (!KINDS.has(kind)) throw invalidEntry(header.name, `is a ${kind}, which no bundle may hold`);
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
