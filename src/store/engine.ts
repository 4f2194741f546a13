// The embedded store over a Storage: one queue through which every change goes, in order. Changes that wait together become one durable
// transaction (group commit), each still all or nothing by itself; nobody is answered and nothing is published before it is durable.

import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { newId } from '../lib/id.ts';
import { createLeaseFill, refusedLease } from './lease-fill.ts';
import { createLeaseTimes } from './lease-times.ts';
import type { Storage } from './storage.ts';
import { checkTransaction, STORE_LIMITS } from './store.ts';
import type { Change, ChangeBatch, CommitResult, Lease, ListResult, Store, Transaction, Write } from './store.ts';
import { createWatchers } from './watchers.ts';

export const ENGINE_LIMITS = {
  /** Changes that may wait for the disk at once, and their size. */
  pending: 4096,
  pendingBytes: 64 * 1024 * 1024,
  /** Changes in one durable transaction, and their size (a single one may exceed it). */
  group: 256,
  groupBytes: 4 * 1024 * 1024,
  /** Leases alive at once. */
  leases: 50_000,
  minLeaseMs: 1000,
} as const;

/** Revisions and changes of the group being written; becomes real only with the group. */
interface Group {
  revision: number;
  readonly batches: ChangeBatch[];
}

interface Pending {
  readonly bytes: number;
  /** Applies to storage and returns what to do once it is durable. Throws only for a broken storage. */
  readonly apply: (group: Group) => () => void;
  readonly reject: (error: unknown) => void;
}

export interface EngineOptions {
  readonly storage: Storage;
  readonly clock: Clock;
  /** How the queue's next flush is put off, so that changes of one turn share a transaction; absent: at once. */
  readonly defer?: (flush: () => void) => void;
}

export function createEngine({ storage, clock, defer }: EngineOptions): Store {
  let revision = storage.openedAtRevision;
  let queue: Pending[] = [];
  let queuedBytes = 0;
  let flushAsked = false;
  let closed = false;
  const leases = createLeaseTimes({ clock, onExpired: endLeases });
  const leaseFill = createLeaseFill(storage);
  const watchers = createWatchers({ storage, revision: () => revision });
  for (const lease of storage.leases()) leases.resume(lease);

  /** Makes some changes durable together and answers them. Where the disk refuses the group, each is tried by itself. */
  function settle(members: readonly Pending[]): void {
    const group: Group = { revision, batches: [] };
    const done: (() => void)[] = [];
    try {
      storage.transact(() => {
        for (const member of members) done.push(member.apply(group));
      });
    } catch (error) {
      if (members.length === 1) members[0]?.reject(error);
      else for (const member of members) settle([member]);
      return;
    }
    revision = group.revision;
    for (const batch of group.batches) storage.published(batch);
    for (const answer of done) answer();
    if (group.batches.length > 0) watchers.wake();
  }

  function takeGroup(): readonly Pending[] {
    let bytes = 0;
    const end = queue.findIndex((member, index) => {
      bytes += member.bytes;
      return index > 0 && (index >= ENGINE_LIMITS.group || bytes > ENGINE_LIMITS.groupBytes);
    });
    const members = end === -1 ? queue : queue.slice(0, end);
    queue = end === -1 ? [] : queue.slice(end);
    for (const member of members) queuedBytes -= member.bytes;
    return members;
  }

  function flush(): void {
    flushAsked = false;
    if (queue.length > 0) settle(takeGroup());
    // One sync a turn: what is left waits until others had theirs.
    if (queue.length > 0) askFlush();
  }

  function askFlush(): void {
    if (flushAsked) return;
    flushAsked = true;
    if (defer === undefined) flush();
    else defer(flush);
  }

  function enqueue<T>(
    apply: (group: Group, resolve: (value: T) => void, reject: (error: unknown) => void) => () => void,
    bytes = 0,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      if (closed) throw closedFailure();
      if (queue.length >= ENGINE_LIMITS.pending || queuedBytes + bytes > ENGINE_LIMITS.pendingBytes) {
        throw new Failure('rate_limited', { message: `${queue.length} changes wait for the store already; the disk is too slow.` });
      }
      queuedBytes += bytes;
      queue.push({ bytes, reject, apply: (group) => apply(group, resolve, reject) });
      askFlush();
    });
  }

  function write(group: Group, writes: readonly Write[]): void {
    const next = group.revision + 1;
    const changes: Change[] = [];
    for (const item of writes) {
      const before = storage.head(item.key);
      if (item.kind === 'delete') {
        if (before === undefined) continue;
        storage.remove(item.key, next, changes.length);
        changes.push({ kind: 'delete', key: item.key, revision: next });
        continue;
      }
      const entry = {
        key: item.key,
        value: item.value,
        createRevision: before?.createRevision ?? next,
        revision: next,
        leaseId: item.leaseId ?? null,
      };
      storage.put(entry, changes.length);
      changes.push({ kind: 'put', entry });
    }
    if (changes.length === 0) return;
    group.revision = next;
    group.batches.push({ revision: next, changes });
  }

  function commit(transaction: Transaction, bytes: number): Promise<CommitResult> {
    return enqueue<CommitResult>((group, resolve, reject) => {
      const mismatches = failedComparisons(storage, transaction);
      if (mismatches.length > 0) {
        const result: CommitResult = { committed: false, revision: group.revision, mismatches };
        return () => resolve(result);
      }
      const refused = refusedLease(storage, leaseFill, transaction.writes);
      if (refused !== undefined) return () => reject(refused);
      write(group, transaction.writes);
      const result: CommitResult = { committed: true, revision: group.revision };
      return () => resolve(result);
    }, bytes);
  }

  function endLease(id: string): Promise<void> {
    return enqueue<void>((group, resolve) => {
      if (storage.hasLease(id)) {
        write(
          group,
          storage.leaseKeys(id).map((key) => ({ kind: 'delete', key })),
        );
        storage.removeLease(id);
      }
      return () => {
        leases.forget(id);
        leaseFill.forget(id);
        resolve();
      };
    });
  }

  function endLeases(ids: readonly string[]): void {
    for (const id of ids) {
      // A disk that refuses keeps the lease; it is tried again after its time once more.
      endLease(id).catch(() => {
        if (!closed) leases.retry(id);
      });
    }
  }

  function keepAlive(id: string, ttlMs: number): Promise<void> {
    return enqueue<void>((_group, resolve, reject) => {
      if (!storage.hasLease(id) || !leases.alive(id)) {
        return () => reject(new Failure('not_found', { message: `The lease ${id} has expired.`, details: { leaseId: id } }));
      }
      storage.putLease({ id, ttlMs, expiresAtMs: clock.now() + ttlMs });
      return () => {
        leases.start(id, ttlMs);
        resolve();
      };
    });
  }

  function grant(ttlMs: number): Promise<Lease> {
    const id = newId(clock.now());
    const lease: Lease = { id, ttlMs, keepAlive: () => keepAlive(id, ttlMs), revoke: () => endLease(id) };
    return enqueue<Lease>((_group, resolve, reject) => {
      if (leases.count() >= ENGINE_LIMITS.leases) {
        return () => reject(new Failure('rate_limited', { message: `The store holds ${ENGINE_LIMITS.leases} leases already.` }));
      }
      storage.putLease({ id, ttlMs, expiresAtMs: clock.now() + ttlMs });
      return () => {
        leases.start(id, ttlMs);
        resolve(lease);
      };
    });
  }

  return {
    get: async (key) => {
      if (closed) throw closedFailure();
      return storage.get(key);
    },
    list: async ({ prefix, after, limit }): Promise<ListResult> => {
      if (closed) throw closedFailure();
      const most = Math.min(Math.max(1, limit ?? STORE_LIMITS.page), STORE_LIMITS.page);
      const entries = storage.list(prefix, after, most + 1);
      return { entries: entries.slice(0, most), revision, more: entries.length > most };
    },
    commit: async (transaction) => {
      return await commit(transaction, checkTransaction(transaction));
    },
    watch: (options) => {
      if (closed) throw closedFailure();
      return watchers.watch(options);
    },
    lease: async ({ ttlMs }) => {
      if (!Number.isSafeInteger(ttlMs) || ttlMs < ENGINE_LIMITS.minLeaseMs) {
        throw new Failure('invalid_input', { message: `A lease must last at least ${ENGINE_LIMITS.minLeaseMs} ms; asked was ${ttlMs}.` });
      }
      return await grant(ttlMs);
    },
    leaseLeftMs: async (id) => {
      if (closed) throw closedFailure();
      return leases.leftMs(id);
    },
    close: async () => {
      if (closed) return;
      closed = true;
      while (queue.length > 0) settle(takeGroup());
      leases.stop();
      watchers.stop();
      storage.close();
    },
  };
}

function failedComparisons(storage: Storage, transaction: Transaction): readonly string[] {
  const failed = new Set<string>();
  for (const comparison of transaction.compare) {
    const head = storage.head(comparison.key);
    const holds = 'exists' in comparison ? head !== undefined : (head?.revision ?? 0) === comparison.revision;
    if (!holds) failed.add(comparison.key);
  }
  return [...failed];
}

function closedFailure(): Failure {
  return new Failure('unavailable', { message: 'The store is closed.' });
}
