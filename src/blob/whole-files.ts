// The folder of whole blobs: walking and reading it.

import { opendir } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { Failure } from '../lib/failure.ts';
import type { BlobInfo, Digest } from './blob.ts';
import { isMissing } from './file-failure.ts';

const HEX = /^[0-9a-f]{64}$/;

/** Names of the blobs in a folder; what is not a blob's name is passed over. */
export async function* listDigests(folder: string): AsyncGenerator<Digest, void, undefined> {
  for await (const entry of await opendir(folder)) if (entry.isFile() && HEX.test(entry.name)) yield `sha256:${entry.name}`;
}

/** All whole blobs; those that vanish meanwhile are left out. */
export async function* listWhole(folder: string): AsyncGenerator<BlobInfo, void, undefined> {
  for await (const shard of await opendir(folder)) {
    if (!shard.isDirectory()) continue;
    for await (const digest of listDigests(join(folder, shard.name))) {
      try {
        const found = await stat(join(folder, shard.name, digest.slice('sha256:'.length)));
        yield { digest, sizeBytes: found.size, createdAtMs: Math.round(found.mtimeMs) };
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
    }
  }
}

/** A stream over part of an open file, which it closes at its end. Throws `invalid_input` for a range outside of the blob. */
export async function readRange(
  file: FileHandle,
  digest: Digest,
  range: { readonly start: number; readonly end?: number | undefined } | undefined,
): Promise<Readable> {
  try {
    const { size } = await file.stat();
    const start = range?.start ?? 0;
    const end = Math.min(range?.end ?? size - 1, size - 1);
    if (range !== undefined && (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || start > end)) {
      throw new Failure('invalid_input', {
        message: `The range ${start}–${range.end ?? ''} is not within the ${size} bytes of ${digest}.`,
        details: { digest, sizeBytes: size },
      });
    }
    return file.createReadStream(size === 0 ? { start: 0 } : { start, end });
  } catch (error) {
    await file.close();
    throw error;
  }
}
