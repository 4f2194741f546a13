// The store on an etcd cluster, which has the same model: what is acknowledged is on the disks of most of its members. Several control
// planes may use it at once. Revisions count from the platform's beginning, so that they mean the same as with the other engines; they have
// gaps where somebody else writes to the cluster.

import { Failure } from '../lib/failure.ts';
import { isRefusal } from './etcd-client.ts';
import type { EtcdClient } from './etcd-client.ts';
import { etcd, EVENT_DELETE, RESULT, TARGET } from './etcd-messages.ts';
import type { CompareMessage, EtcdEvent, KeyValue, RequestOp, ResponseOp } from './etcd-messages.ts';
import type { Said } from './protobuf.ts';
import { checkTransaction, STORE_LIMITS } from './store.ts';
import type { Change, ChangeBatch, CommitResult, Compare, Entry, Lease, Store, Transaction, WatchOptions, Write } from './store.ts';

const DEFAULT_KEEP_REVISIONS = 10_000;
/** Old revisions are dropped so many at a time. */
const COMPACTION_STEP = 256;
/** Commits that may be under way at once, and their size. */
const PENDING = 4096;
const PENDING_BYTES = 16 * 1024 * 1024;
const MIN_LEASE_MS = 1000;

export interface EtcdStoreOptions {
  readonly client: EtcdClient;
  /** Before every key; one platform has it to itself. */
  readonly prefix: string;
  /** Revisions that watchers can go back to; default 10,000. */
  readonly keepRevisions?: number | undefined;
}

/** The end of the range of all keys with a prefix, as etcd wants it: the prefix with its last byte raised by one. */
function endOf(prefix: string): Buffer {
  const bytes = Buffer.from(prefix, 'utf8');
  const last = bytes.length - 1;
  // Valid UTF-8 has no byte 255.
  bytes[last] = (bytes[last] ?? 0) + 1;
  return bytes;
}

/** Opens the platform's part of the cluster, or begins it. Throws `unavailable` where the cluster does not answer. */
export async function openEtcdStore({ client, prefix, keepRevisions = DEFAULT_KEEP_REVISIONS }: EtcdStoreOptions): Promise<Store> {
  const keys = `${prefix}/k/`;
  const base = await begin(client, `${prefix}/begun`);
  const stopping = new AbortController();
  const pending = new Set<Promise<unknown>>();
  let pendingBytes = 0;
  let compacted = 0;
  let compacting = false;
  let closed = false;

  const open = (): void => {
    if (closed) throw new Failure('unavailable', { message: 'The store is closed.' });
  };
  const revisionOf = (reply: { readonly header: { readonly revision: number } | null }): number => (reply.header?.revision ?? 0) - base;
  const keyOf = (kv: KeyValue): string => kv.key.slice(keys.length);
  const entryOf = (kv: KeyValue): Entry => ({
    key: keyOf(kv),
    value: kv.value,
    createRevision: kv.createRevision - base,
    revision: kv.modRevision - base,
    leaseId: kv.lease === '0' ? null : kv.lease,
  });

  const compareOf = (compare: Compare): Said<CompareMessage> => {
    const key = keys + compare.key;
    if ('exists' in compare) return { key, target: TARGET.create, result: RESULT.greater, createRevision: 0 };
    return { key, target: TARGET.mod, result: RESULT.equal, modRevision: compare.revision === 0 ? 0 : compare.revision + base };
  };
  const writeOf = (write: Write): Said<RequestOp> => {
    const key = keys + write.key;
    if (write.kind === 'delete') return { remove: { key } };
    return { put: { key, value: write.value, ...(write.leaseId === undefined ? {} : { lease: write.leaseId }) } };
  };
  const mismatchesIn = (compares: readonly Compare[], responses: readonly ResponseOp[]): readonly string[] => {
    const mismatches = new Set<string>();
    for (const [index, compare] of compares.entries()) {
      const [kv] = responses[index]?.range?.kvs ?? [];
      const revision = kv === undefined ? 0 : kv.modRevision - base;
      if ('exists' in compare ? revision === 0 : revision !== compare.revision) mismatches.add(compare.key);
    }
    return [...mismatches];
  };

  const commit = async ({ compare, writes }: Transaction): Promise<CommitResult> => {
    const unknown = writes.find((write) => write.kind === 'put' && write.leaseId !== undefined && !/^\d+$/u.test(write.leaseId));
    if (unknown?.kind === 'put') throw noLease(unknown.leaseId ?? '');
    const reply = await client
      .call(
        etcd.txn,
        {
          compare: compare.map(compareOf),
          success: writes.map(writeOf),
          failure: compare.map(({ key }) => ({ range: { key: keys + key, keysOnly: true } })),
        },
        // Without writes it is only a question.
        { repeatable: writes.length === 0 },
      )
      .catch((error: unknown) => {
        if (!isRefusal(error, 'notFound')) throw error;
        const leased = writes.find((write) => write.kind === 'put' && write.leaseId !== undefined);
        throw noLease(leased?.kind === 'put' ? (leased.leaseId ?? '') : '');
      });
    const revision = revisionOf(reply);
    if (reply.succeeded) {
      compact(revision);
      return { committed: true, revision };
    }
    return { committed: false, revision, mismatches: mismatchesIn(compare, reply.responses) };
  };

  /** Beside what is under way; several control planes may do the same. */
  const compact = (revision: number): void => {
    const upTo = revision - keepRevisions;
    if (compacting || upTo - compacted < COMPACTION_STEP) return;
    compacting = true;
    void client
      .call(etcd.compact, { revision: upTo + base }, { repeatable: true })
      // Another one was there first, or the cluster is away: the next commits come by here again.
      .catch(() => undefined)
      .finally(() => {
        compacted = upTo;
        compacting = false;
      });
  };

  async function* watch({ prefix: wanted, fromRevision, signal }: WatchOptions): AsyncGenerator<ChangeBatch, void, undefined> {
    const ended = AbortSignal.any([signal, stopping.signal]);
    if (ended.aborted) return;
    const from = Math.max(1, fromRevision);
    const create = { key: keys + wanted, rangeEnd: endOf(keys + wanted), startRevision: from + base };
    for await (const reply of client.stream(etcd.watch, { create }, ended)) {
      const compactRevision = reply.compactRevision - base;
      if (compactRevision > 0) throw compactedFailure(from, compactRevision);
      if (reply.canceled) throw new Failure('unavailable', { message: `The etcd cluster ended a watch: ${reply.cancelReason}` });
      for (const batch of batchesOf(reply.events)) {
        yield batch;
        if (ended.aborted) return;
      }
    }
  }

  /** A transaction is never spread over two messages. */
  const batchesOf = (events: readonly EtcdEvent[]): readonly ChangeBatch[] => {
    const batches: { readonly revision: number; readonly changes: Change[] }[] = [];
    for (const { kv, type } of events) {
      if (kv === null) continue;
      const revision = kv.modRevision - base;
      const change: Change = type === EVENT_DELETE ? { kind: 'delete', key: keyOf(kv), revision } : { kind: 'put', entry: entryOf(kv) };
      const last = batches.at(-1);
      if (last?.revision === revision) last.changes.push(change);
      else batches.push({ revision, changes: [change] });
    }
    return batches;
  };

  const grant = async (ttlMs: number): Promise<Lease> => {
    const { id } = await client.call(etcd.leaseGrant, { ttlSeconds: Math.ceil(ttlMs / 1000) }, { repeatable: true });
    return {
      id,
      ttlMs,
      keepAlive: async () => {
        open();
        // All members have to be tried within the time of the lease.
        const deadlineMs = ttlMs / (1 + client.members);
        const { ttlSeconds } = await client.call(etcd.leaseKeepAlive, { id }, { repeatable: true, deadlineMs });
        if (ttlSeconds <= 0) throw noLease(id);
      },
      revoke: async () => {
        open();
        await client.call(etcd.leaseRevoke, { id }, { repeatable: true }).catch((error: unknown) => {
          // It has ended before.
          if (!isRefusal(error, 'notFound')) throw error;
        });
      },
    };
  };

  return {
    get: async (key) => {
      open();
      const { kvs } = await client.call(etcd.range, { key: keys + key }, { repeatable: true });
      const [kv] = kvs;
      return kv === undefined ? undefined : entryOf(kv);
    },
    list: async ({ prefix: wanted, after, limit }) => {
      open();
      const most = Math.min(Math.max(1, limit ?? STORE_LIMITS.page), STORE_LIMITS.page);
      const first = after !== undefined && Buffer.compare(Buffer.from(after), Buffer.from(wanted)) >= 0 ? `${after}\0` : wanted;
      const request = { key: keys + first, rangeEnd: endOf(keys + wanted), limit: most };
      const reply = await client.call(etcd.range, request, { repeatable: true });
      return { entries: reply.kvs.map(entryOf), revision: revisionOf(reply), more: reply.more };
    },
    commit: async (transaction) => {
      open();
      const bytes = checkTransaction(transaction);
      if (pending.size >= PENDING || pendingBytes + bytes > PENDING_BYTES)
        throw new Failure('rate_limited', { message: `${pending.size} changes wait for the store already; the etcd cluster is too slow.` });
      pendingBytes += bytes;
      const going = commit(transaction);
      pending.add(going);
      try {
        return await going;
      } finally {
        pending.delete(going);
        pendingBytes -= bytes;
      }
    },
    watch: (options) => {
      open();
      return watch(options);
    },
    lease: async ({ ttlMs }) => {
      open();
      if (!Number.isSafeInteger(ttlMs) || ttlMs < MIN_LEASE_MS)
        throw new Failure('invalid_input', { message: `A lease must last at least ${MIN_LEASE_MS} ms; asked was ${ttlMs}.` });
      return await grant(ttlMs);
    },
    leaseLeftMs: async (id) => {
      open();
      if (!/^\d+$/u.test(id)) return undefined;
      // -1: there is none.
      const { ttlSeconds } = await client.call(etcd.leaseTimeToLive, { id }, { repeatable: true });
      return ttlSeconds < 0 ? undefined : ttlSeconds * 1000;
    },
    close: async () => {
      if (closed) return;
      closed = true;
      stopping.abort();
      await Promise.allSettled(pending);
      client.close();
    },
  };
}

/** The cluster's revision at which this platform began: when its first key was written, once. */
async function begin(client: EtcdClient, key: string): Promise<number> {
  await client.call(
    etcd.txn,
    {
      compare: [{ key, target: TARGET.create, result: RESULT.equal, createRevision: 0 }],
      success: [{ put: { key, value: '' } }],
    },
    { repeatable: true },
  );
  const { kvs } = await client.call(etcd.range, { key }, { repeatable: true });
  const [kv] = kvs;
  if (kv === undefined) throw new Failure('storage_failed', { message: `The key ${key} of the etcd cluster vanished while it was read.` });
  return kv.createRevision;
}

function noLease(id: string): Failure {
  return new Failure('not_found', { message: `The lease ${id} does not exist or has expired.`, details: { leaseId: id } });
}

function compactedFailure(revision: number, compacted: number): Failure {
  return new Failure('compacted', {
    message: `Changes up to revision ${compacted} are no longer kept; the watch asked for revision ${revision}.`,
    hint: 'List the current state and watch from there.',
    details: { revision, compactedRevision: compacted },
  });
}
