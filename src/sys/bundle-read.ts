// Reads a tar or gzipped tar as a stream of entries under bounds: names are checked, and counts and sizes are refused as soon as a header
// announces too much, before anything is written.

import { Readable, pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { createTarDecoder } from 'modern-tar';
import type { TarHeader } from 'modern-tar';
import { Failure, isFailure, messageOf } from '../lib/failure.ts';
import type { BundleLimits } from './bundle-limits.ts';

export interface ArchiveEntry {
  readonly header: TarHeader;
  /** Relative path without `.` and `..`; null: the archive's own root. */
  readonly path: string | null;
  readonly body: AsyncIterable<Uint8Array>;
  readonly limits: BundleLimits;
}

const GZIP_MAGIC: readonly number[] = [0x1f, 0x8b];
/** Longest name that file systems take. */
const MAX_NAME_BYTES = 255;
const BLOCK = 512;

export function invalidEntry(path: string, what: string): Failure {
  return new Failure('bundle_invalid', { message: `The entry ${path} of the archive ${what}.`, details: { path } });
}

/** Runs a disk operation; what it throws becomes `storage_failed` with the path. */
export async function storageFailure<T>(path: string, operation: Promise<T>): Promise<T> {
  try {
    return await operation;
  } catch (error) {
    if (isFailure(error)) throw error;
    throw new Failure('storage_failed', { message: `${path} cannot be written: ${messageOf(error)}.`, details: { path }, cause: error });
  }
}

/** The entry's path below the target, or null for the root itself. Throws `bundle_invalid` where the name could lead elsewhere. */
export function entryPath(name: string, limits: BundleLimits): string | null {
  if (name.startsWith('/')) throw invalidEntry(name, 'has an absolute path');
  if (name.includes('\u0000')) throw invalidEntry(name.replaceAll('\u0000', '\\0'), 'has a NUL character in its name');
  if (Buffer.byteLength(name) > limits.maxPathBytes) {
    throw invalidEntry(`${name.slice(0, 80)}…`, `has a path of more than ${limits.maxPathBytes} bytes`);
  }
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw invalidEntry(name, 'leads out of the folder (..)');
  if (parts.some((part) => Buffer.byteLength(part) > MAX_NAME_BYTES))
    throw invalidEntry(name, `has a name of more than ${MAX_NAME_BYTES} bytes`);
  return parts.length === 0 ? null : parts.join('/');
}

/** The entries in order. Each body must be read whole, or not at all, before the next entry is asked for. */
export async function* bundleEntries(
  stream: AsyncIterable<Uint8Array>,
  limits: BundleLimits,
  signal: AbortSignal | undefined,
): AsyncGenerator<ArchiveEntry, void, undefined> {
  const source: Source = { failed: false, error: null };
  let entries = 0;
  let totalBytes = 0;
  let last = 'the first entry';
  /** What went wrong, told as what it is: the source's own error, a refusal, or a damaged archive. */
  const told = (error: unknown): unknown => {
    if (source.failed) return source.error;
    if (isFailure(error) || signal?.aborted === true) return error;
    return new Failure('bundle_invalid', {
      message: `The archive is damaged after ${last}: ${messageOf(error)}`,
      hint: 'Pack and upload it again.',
      details: { path: last },
      cause: error,
    });
  };
  try {
    const archive = ReadableStream.from(bounded(await unzipped(remembering(stream, source)), limits));
    for await (const { header, body } of archive.pipeThrough(createTarDecoder({ strict: true }), { signal })) {
      const path = entryPath(header.name, limits);
      last = header.name;
      entries += 1;
      if (entries > limits.maxEntries) throw tooLarge(`more than ${limits.maxEntries} entries`, { maxEntries: limits.maxEntries });
      if (!Number.isSafeInteger(header.size) || header.size < 0) throw invalidEntry(header.name, 'has an impossible size');
      totalBytes += header.size;
      if (totalBytes > limits.maxBytes)
        throw tooLarge(`more than ${limits.maxBytes} bytes`, { maxBytes: limits.maxBytes, path: header.name });
      yield { header, path, body: translated(body, told), limits };
      if (!body.locked) await body.cancel();
    }
  } catch (error) {
    throw told(error);
  }
}

async function* translated(
  body: AsyncIterable<Uint8Array>,
  told: (error: unknown) => unknown,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* body;
  } catch (error) {
    throw told(error);
  }
}

interface Source {
  failed: boolean;
  error: unknown;
}

/** Remembers what the source itself throws, so that a broken connection is not told as a damaged bundle. */
async function* remembering(stream: AsyncIterable<Uint8Array>, source: Source): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* stream;
  } catch (error) {
    source.failed = true;
    source.error = error;
    throw error;
  }
}

/** Looks at the first bytes and puts a decompressor in between where they are gzip's. */
async function unzipped(stream: AsyncGenerator<Uint8Array, void, undefined>): Promise<AsyncIterable<Uint8Array>> {
  const head: Uint8Array[] = [];
  let bytes = 0;
  while (bytes < GZIP_MAGIC.length) {
    const next = await stream.next();
    if (next.done === true) break;
    head.push(next.value);
    bytes += next.value.length;
  }
  const joined = Buffer.concat(head);
  const whole = startingWith(joined, stream);
  if (!GZIP_MAGIC.every((byte, index) => joined[index] === byte)) return whole;
  const gunzip = createGunzip();
  // Errors of either end surface where the entries are read.
  pipeline(Readable.from(whole, { objectMode: false }), gunzip, () => undefined);
  return gunzip;
}

async function* startingWith(
  head: Uint8Array,
  rest: AsyncGenerator<Uint8Array, void, undefined>,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    if (head.length > 0) yield head;
    yield* rest;
  } finally {
    await rest.return();
  }
}

/** Ends what unpacks to more than headers and contents within the limits can take: a gzip bomb without entries. */
async function* bounded(stream: AsyncIterable<Uint8Array>, limits: BundleLimits): AsyncGenerator<Uint8Array, void, undefined> {
  const maxRawBytes = limits.maxBytes + limits.maxEntries * (4 * BLOCK + 2 * limits.maxPathBytes) + 64 * BLOCK;
  let rawBytes = 0;
  for await (const chunk of stream) {
    rawBytes += chunk.length;
    if (rawBytes > maxRawBytes) throw tooLarge(`more than ${maxRawBytes} bytes of archive`, { maxBytes: limits.maxBytes });
    yield chunk;
  }
}

function tooLarge(what: string, details: Readonly<Record<string, unknown>>): Failure {
  return new Failure('too_large', { message: `The archive unpacks to ${what}.`, details });
}
