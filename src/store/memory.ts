// The store in memory: for tests, for `--store memory`, and as the yardstick of the other engines. Same rules, nothing durable.

import type { Clock } from '../lib/clock.ts';
import { createEngine } from './engine.ts';
import { compareKeys, lowerBound } from './key-order.ts';
import { createRecentChanges } from './recent-changes.ts';
import type { Storage, StoredLease } from './storage.ts';
import type { Entry, Store } from './store.ts';

const DEFAULT_KEEP_REVISIONS = 10_000;
const KEEP_BYTES = 64 * 1024 * 1024;

export interface MemoryStoreOptions {
  readonly clock: Clock;
  /** Revisions that watchers can go back to; default 10,000. */
  readonly keepRevisions?: number | undefined;
}

export function createMemoryStore({ clock, keepRevisions }: MemoryStoreOptions): Store {
  return createEngine({ clock, storage: createMemoryStorage(keepRevisions ?? DEFAULT_KEEP_REVISIONS) });
}

function createMemoryStorage(keepRevisions: number): Storage {
  const entries = new Map<string, Entry>();
  const keys: string[] = [];
  const leases = new Map<string, StoredLease>();
  const keysByLease = new Map<string, Set<string>>();
  const recent = createRecentChanges({ startRevision: 0, maxRevisions: keepRevisions, maxBytes: KEEP_BYTES });

  const detach = (entry: Entry | undefined): void => {
    if (entry !== undefined && entry.leaseId !== null) keysByLease.get(entry.leaseId)?.delete(entry.key);
  };

  return {
    openedAtRevision: 0,
    get: (key) => entries.get(key),
    head: (key) => entries.get(key),
    list: (prefix, after, limit) => {
      let at = lowerBound(keys, prefix);
      if (after !== undefined && compareKeys(after, prefix) >= 0) {
        at = lowerBound(keys, after);
        if (keys[at] === after) at += 1;
      }
      const found: Entry[] = [];
      for (; found.length < limit; at += 1) {
        const key = keys[at];
        const entry = key === undefined ? undefined : entries.get(key);
        if (key === undefined || entry === undefined || !key.startsWith(prefix)) break;
        found.push(entry);
      }
      return found;
    },
    leases: () => [...leases.values()],
    hasLease: (id) => leases.has(id),
    leaseKeys: (id) => [...(keysByLease.get(id) ?? [])],
    leaseKeyCount: (id) => keysByLease.get(id)?.size ?? 0,
    transact: (apply) => {
      apply();
    },
    put: (entry) => {
      const before = entries.get(entry.key);
      if (before === undefined) keys.splice(lowerBound(keys, entry.key), 0, entry.key);
      detach(before);
      entries.set(entry.key, entry);
      if (entry.leaseId !== null) keysByLease.get(entry.leaseId)?.add(entry.key);
    },
    remove: (key) => {
      detach(entries.get(key));
      if (entries.delete(key)) keys.splice(lowerBound(keys, key), 1);
    },
    putLease: (lease) => {
      leases.set(lease.id, lease);
      if (!keysByLease.has(lease.id)) keysByLease.set(lease.id, new Set());
    },
    removeLease: (id) => {
      leases.delete(id);
      keysByLease.delete(id);
    },
    published: (batch) => {
      recent.push(batch);
    },
    compactedRevision: () => recent.firstRevision - 1,
    history: (fromRevision, limit) => recent.read(fromRevision, limit),
    close: () => undefined,
  };
}
