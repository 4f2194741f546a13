// All entries under some prefixes as of one revision, although they are read page by page: what changed while reading is caught up from
// the history, so nothing is missed and nothing is seen twice.

import { isFailure } from '../lib/failure.ts';
import type { Entry, Store } from './store.ts';

export interface Snapshot {
  readonly entries: Iterable<Entry>;
  readonly revision: number;
}

export interface SnapshotOptions {
  readonly store: Store;
  /** None may start with another one. */
  readonly prefixes: readonly string[];
  readonly signal: AbortSignal;
}

const MAX_ATTEMPTS = 10;
const MARK_KEY = 'pulse/reader';

/** Throws `compacted` only when the store again and again forgets faster than it can be read. */
export async function readSnapshot(options: SnapshotOptions): Promise<Snapshot> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await readOnce(options);
    } catch (error) {
      if (attempt === MAX_ATTEMPTS || !isFailure(error, 'compacted')) throw error;
    }
  }
}

async function readOnce({ store, prefixes, signal }: SnapshotOptions): Promise<Snapshot> {
  const entries = new Map<string, Entry>();
  let first = Infinity;
  let last = 0;
  for (const prefix of prefixes) {
    let after: string | undefined;
    for (;;) {
      signal.throwIfAborted();
      const page = await store.list({ prefix, after });
      for (const entry of page.entries) entries.set(entry.key, entry);
      first = Math.min(first, page.revision);
      last = Math.max(last, page.revision);
      after = page.entries.at(-1)?.key;
      if (!page.more || after === undefined) break;
    }
  }
  if (first < last) {
    // The store may count revisions that are none of ours: only one that we have written surely comes by.
    const mark = await store.commit({ compare: [], writes: [{ kind: 'put', key: MARK_KEY, value: '' }] });
    last = mark.revision;
    await catchUp({ store, prefixes, signal }, entries, { from: first + 1, to: last });
  }
  return { entries: entries.values(), revision: last };
}

async function catchUp(
  { store, prefixes, signal }: SnapshotOptions,
  entries: Map<string, Entry>,
  range: { readonly from: number; readonly to: number },
): Promise<void> {
  const wanted = (key: string): boolean => prefixes.some((prefix) => key.startsWith(prefix));
  for await (const batch of store.watch({ prefix: '', fromRevision: range.from, signal })) {
    for (const change of batch.changes) {
      if (change.kind === 'delete') entries.delete(change.key);
      else if (wanted(change.entry.key)) entries.set(change.entry.key, change.entry);
    }
    if (batch.revision >= range.to) return;
  }
  signal.throwIfAborted();
}
