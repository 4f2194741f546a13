// The contract of every store engine: etcd's model (revisions, compare-and-commit, watches from a revision, leases) in six calls.
// It keeps invariant 12: the bounds are checked here, the same for every engine.

import { Failure } from '../lib/failure.ts';

export interface Entry {
  readonly key: string;
  readonly value: string;
  /** Store revision that created the key (since its last deletion). */
  readonly createRevision: number;
  /** Store revision of its last change. */
  readonly revision: number;
  /** Lease that the key dies with, null for none. */
  readonly leaseId: string | null;
}

export type Compare =
  /** The key's last change is exactly this revision; 0: the key does not exist. */
  | { readonly key: string; readonly revision: number }
  /** The key exists, whatever its revision. */
  | { readonly key: string; readonly exists: true };

export type Write =
  | { readonly kind: 'put'; readonly key: string; readonly value: string; readonly leaseId?: string | undefined }
  | { readonly kind: 'delete'; readonly key: string };

export interface Transaction {
  readonly compare: readonly Compare[];
  readonly writes: readonly Write[];
}

export type CommitResult =
  | { readonly committed: true; readonly revision: number }
  /** Nothing was written. `mismatches` are the keys of the comparisons that did not hold. */
  | { readonly committed: false; readonly revision: number; readonly mismatches: readonly string[] };

export type Change =
  | { readonly kind: 'put'; readonly entry: Entry }
  | { readonly kind: 'delete'; readonly key: string; readonly revision: number };

/** All changes of one revision under the watched prefix, never split. */
export interface ChangeBatch {
  readonly revision: number;
  readonly changes: readonly Change[];
}

export interface ListOptions {
  /** Keys that start with it; '' is all. */
  readonly prefix: string;
  /** Only keys greater than this one: the last key of the page before. */
  readonly after?: string | undefined;
  /** At most this many; default and maximum 1,000. */
  readonly limit?: number | undefined;
}

export interface ListResult {
  readonly entries: readonly Entry[];
  /** The store's revision at the time of the read. Watching from `revision + 1` misses nothing. */
  readonly revision: number;
  readonly more: boolean;
}

export interface WatchOptions {
  readonly prefix: string;
  /** First revision of interest. Older than what is kept: the iterator throws `compacted`. */
  readonly fromRevision: number;
  readonly signal: AbortSignal;
}

export interface Lease {
  readonly id: string;
  readonly ttlMs: number;
  /** Starts the time anew; throws `not_found` when it has expired already. */
  keepAlive(): Promise<void>;
  /** Ends it now; its keys are deleted in one revision. */
  revoke(): Promise<void>;
}

export interface Store {
  /** The entry, or undefined. Linearizable. */
  get(key: string): Promise<Entry | undefined>;
  /** A page of entries in key order, as of one revision. */
  list(options: ListOptions): Promise<ListResult>;
  /** All or nothing. Durable when it resolves: an acknowledged commit survives kill −9. Throws `too_large` beyond the bounds. */
  commit(transaction: Transaction): Promise<CommitResult>;
  /** Batches in revision order without gaps; ends when the signal aborts; throws `compacted` when the start is no longer kept. */
  watch(options: WatchOptions): AsyncIterable<ChangeBatch>;
  /** A new lease; without keepAlive its keys are deleted after `ttlMs` (at least 1,000). */
  lease(options: { readonly ttlMs: number }): Promise<Lease>;
  /** What is left of a lease, in milliseconds; undefined where there is none. */
  leaseLeftMs(id: string): Promise<number | undefined>;
  close(): Promise<void>;
}

export const STORE_LIMITS = {
  compares: 100,
  writes: 100,
  commitBytes: 1024 * 1024,
  valueBytes: 256 * 1024,
  keyBytes: 1024,
  page: 1000,
} as const;

const encoder = new TextEncoder();

/** The transaction's size in bytes. Throws `too_large` or `invalid_input` when it breaks the bounds that every engine keeps (invariant 12). */
export function checkTransaction(transaction: Transaction): number {
  if (transaction.compare.length > STORE_LIMITS.compares || transaction.writes.length > STORE_LIMITS.writes) {
    throw new Failure('too_large', {
      message: `A commit may hold ${STORE_LIMITS.compares} comparisons and ${STORE_LIMITS.writes} writes; this one has ${transaction.compare.length} and ${transaction.writes.length}.`,
    });
  }
  let bytes = 0;
  const written = new Set<string>();
  for (const write of transaction.writes) {
    if (written.has(write.key)) throw new Failure('invalid_input', { message: `A commit writes the key ${write.key} twice.` });
    written.add(write.key);
    const keyBytes = checkKey(write.key);
    if (write.kind === 'put' && !write.value.isWellFormed()) {
      throw new Failure('invalid_input', { message: `The value of ${write.key} is not well-formed text.` });
    }
    const valueBytes = write.kind === 'put' ? encoder.encode(write.value).length : 0;
    if (valueBytes > STORE_LIMITS.valueBytes) {
      throw new Failure('too_large', {
        message: `The value of ${write.key} is ${valueBytes} bytes; ${STORE_LIMITS.valueBytes} are allowed.`,
      });
    }
    bytes += keyBytes + valueBytes;
  }
  for (const compare of transaction.compare) bytes += checkKey(compare.key);
  if (bytes > STORE_LIMITS.commitBytes) {
    throw new Failure('too_large', { message: `A commit may hold ${STORE_LIMITS.commitBytes} bytes; this one has ${bytes}.` });
  }
  return bytes;
}

/** Control characters, and the character that engines use as an upper bound. */
const FORBIDDEN_IN_KEYS = /[\u0000-\u001f\u007f\u{10ffff}]/u;

function checkKey(key: string): number {
  const bytes = encoder.encode(key).length;
  if (bytes === 0 || bytes > STORE_LIMITS.keyBytes) {
    throw new Failure('invalid_input', { message: `A store key must have 1 to ${STORE_LIMITS.keyBytes} bytes; this one has ${bytes}.` });
  }
  if (!key.isWellFormed() || FORBIDDEN_IN_KEYS.test(key)) {
    throw new Failure('invalid_input', { message: `The store key ${JSON.stringify(key)} holds a character that is not allowed.` });
  }
  return bytes;
}
