// What an embedded engine supplies below engine.ts: plain synchronous reads and writes. Comparisons, revisions, leases, watches and
// bounds are written once, in engine.ts, so that the engines cannot differ in them.

import type { ChangeBatch, Entry } from './store.ts';

/** An entry without its value. */
interface Head {
  readonly createRevision: number;
  readonly revision: number;
}

export interface StoredLease {
  readonly id: string;
  readonly ttlMs: number;
  /** Wall-clock time at which it ends, UTC milliseconds; counts only for reopening. */
  readonly expiresAtMs: number;
}

export interface Storage {
  /** The last committed revision when the storage was opened; 0 for an empty one. */
  readonly openedAtRevision: number;
  get(key: string): Entry | undefined;
  head(key: string): Head | undefined;
  /** Entries of a prefix in byte order of their UTF-8 keys. */
  list(prefix: string, after: string | undefined, limit: number): readonly Entry[];

  leases(): readonly StoredLease[];
  hasLease(id: string): boolean;
  leaseKeys(id: string): readonly string[];
  leaseKeyCount(id: string): number;

  /** Runs `apply` as one durable transaction; when it or the disk throws, nothing of it remains and the error is rethrown as a Failure. */
  transact(apply: () => void): void;
  /** The following only inside of `transact`. `ordinal`: the place of the change within its revision. */
  put(entry: Entry, ordinal: number): void;
  remove(key: string, revision: number, ordinal: number): void;
  putLease(lease: StoredLease): void;
  removeLease(id: string): void;

  /** Tells of batches that have become durable, in order. */
  published(batch: ChangeBatch): void;
  /** Changes up to and including this revision are no longer kept. */
  compactedRevision(): number;
  /** Whole batches from a revision above compactedRevision on; at least one when there is one, at most about `limit`. */
  history(fromRevision: number, limit: number): readonly ChangeBatch[];
  close(): void;
}
