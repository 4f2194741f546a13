// The store on an etcd cluster, which has the same model: what is acknowledged is on the disks of most of its members. Several control
// planes may use it at once. Revisions count from the platform's beginning, so that they mean the same as with the other engines; they have
// gaps where somebody else writes to the cluster.

import { Failure } from '../lib/failure.ts';
import { EtcdRefusal, isRecord } from './etcd-gateway.ts';
import type { EtcdGateway, Reply } from './etcd-gateway.ts';
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
  readonly gateway: EtcdGateway;
  /** Before every key; one platform has it to itself. */
  readonly prefix: string;
  /** Revisions that watchers can go back to; default 10,000. */
  readonly keepRevisions?: number | undefined;
}

const encode = (value: string): string => Buffer.from(value, 'utf8').toString('base64');
const decode = (value: unknown): string => (typeof value === 'string' ? Buffer.from(value, 'base64').toString('utf8') : '');
const list = (value: unknown): readonly Reply[] => (Array.isArray(value) ? value.filter(isRecord) : []);
/** Revisions stay below 2^53 for as long as anybody will write. */
const number = (value: unknown): number => Number(value ?? 0);

/** The end of the range of all keys with a prefix, as etcd wants it: the prefix with its last byte raised by one. */
function endOf(prefix: string): string {
  const bytes = Buffer.from(prefix, 'utf8');
  const last = bytes.at(-1) ?? 0;
  // The prefixes of ours end with characters of ASCII, and valid UTF-8 has no byte 255.
  return Buffer.concat([bytes.subarray(0, -1), Buffer.of(last + 1)]).toString('base64');
}

/** Opens the platform's part of the cluster, or begins it. Throws `unavailable` where the cluster does not answer. */
export async function openEtcdStore({ gateway, prefix, keepRevisions = DEFAULT_KEEP_REVISIONS }: EtcdStoreOptions): Promise<Store> {
  const keys = `${prefix}/k/`;
  const base = await begin(gateway, `${prefix}/begun`);
  const stopping = new AbortController();
  const pending = new Set<Promise<unknown>>();
  let pendingBytes = 0;
  let compacted = 0;
  let compacting = false;
  let closed = false;

  const open = (): void => {
    if (closed) throw new Failure('unavailable', { message: 'The store is closed.' });
  };
  const revisionOf = (reply: Reply): number => number(isRecord(reply['header']) ? reply['header']['revision'] : 0) - base;
  const keyOf = (kv: Reply): string => decode(kv['key']).slice(keys.length);
  const entryOf = (kv: Reply): Entry => {
    const lease = typeof kv['lease'] === 'string' && kv['lease'] !== '0' ? kv['lease'] : null;
    return {
      key: keyOf(kv),
      value: decode(kv['value']),
      createRevision: number(kv['create_revision']) - base,
      revision: number(kv['mod_revision']) - base,
      leaseId: lease,
    };
  };

  const compareOf = (compare: Compare): Reply => {
    const key = encode(keys + compare.key);
    if ('exists' in compare) return { key, target: 'CREATE', result: 'GREATER', create_revision: '0' };
    return { key, target: 'MOD', result: 'EQUAL', mod_revision: String(compare.revision === 0 ? 0 : compare.revision + base) };
  };
  const writeOf = (write: Write): Reply => {
    const key = encode(keys + write.key);
    if (write.kind === 'delete') return { request_delete_range: { key } };
    return { request_put: { key, value: encode(write.value), ...(write.leaseId === undefined ? {} : { lease: write.leaseId }) } };
  };
  const mismatchesIn = (compares: readonly Compare[], responses: readonly Reply[]): readonly string[] => {
    const mismatches = new Set<string>();
    for (const [index, compare] of compares.entries()) {
      const range = responses[index]?.['response_range'];
      const [kv] = isRecord(range) ? list(range['kvs']) : [];
      const revision = kv === undefined ? 0 : number(kv['mod_revision']) - base;
      if ('exists' in compare ? revision === 0 : revision !== compare.revision) mismatches.add(compare.key);
    }
    return [...mismatches];
  };

  const commit = async ({ compare, writes }: Transaction): Promise<CommitResult> => {
    const unknown = writes.find((write) => write.kind === 'put' && write.leaseId !== undefined && !/^\d+$/u.test(write.leaseId));
    if (unknown?.kind === 'put') throw noLease(unknown.leaseId ?? '');
    const reply = await gateway
      .call(
        'kv/txn',
        {
          compare: compare.map(compareOf),
          success: writes.map(writeOf),
          failure: compare.map(({ key }) => ({ request_range: { key: encode(keys + key), keys_only: true } })),
        },
        // Without writes it is only a question.
        { repeatable: writes.length === 0 },
      )
      .catch((error: unknown) => {
        if (!(error instanceof EtcdRefusal) || !error.isNotFound) throw error;
        const leased = writes.find((write) => write.kind === 'put' && write.leaseId !== undefined);
        throw noLease(leased?.kind === 'put' ? (leased.leaseId ?? '') : '');
      });
    const revision = revisionOf(reply);
    if (reply['succeeded'] === true) {
      compact(revision);
      return { committed: true, revision };
    }
    return { committed: false, revision, mismatches: mismatchesIn(compare, list(reply['responses'])) };
  };

  /** Beside what is under way; several control planes may do the same. */
  const compact = (revision: number): void => {
    const upTo = revision - keepRevisions;
    if (compacting || upTo - compacted < COMPACTION_STEP) return;
    compacting = true;
    void gateway
      .call('kv/compaction', { revision: String(upTo + base) }, { repeatable: true })
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
    const request = { key: encode(keys + wanted), range_end: endOf(keys + wanted), start_revision: String(from + base) };
    for await (const reply of gateway.stream('watch', { create_request: request }, ended)) {
      const compactRevision = number(reply['compact_revision']) - base;
      if (compactRevision > 0) throw compactedFailure(from, compactRevision);
      if (reply['canceled'] === true)
        throw new Failure('unavailable', { message: `The etcd cluster ended a watch: ${JSON.stringify(reply['cancel_reason'])}` });
      for (const batch of batchesOf(list(reply['events']))) {
        yield batch;
        if (ended.aborted) return;
      }
    }
  }

  /** A transaction is never spread over two messages. */
  const batchesOf = (events: readonly Reply[]): readonly ChangeBatch[] => {
    const batches: { readonly revision: number; readonly changes: Change[] }[] = [];
    for (const event of events) {
      const kv = isRecord(event['kv']) ? event['kv'] : {};
      const revision = number(kv['mod_revision']) - base;
      const change: Change =
        event['type'] === 'DELETE' ? { kind: 'delete', key: keyOf(kv), revision } : { kind: 'put', entry: entryOf(kv) };
      const last = batches.at(-1);
      if (last?.revision === revision) last.changes.push(change);
      else batches.push({ revision, changes: [change] });
    }
    return batches;
  };

  const grant = async (ttlMs: number): Promise<Lease> => {
    const reply = await gateway.call('lease/grant', { TTL: String(Math.ceil(ttlMs / 1000)) }, { repeatable: true });
    const id = String(reply['ID']);
    return {
      id,
      ttlMs,
      keepAlive: async () => {
        open();
        // Several members have to be tried within the time of the lease.
        const { result } = await gateway.call('lease/keepalive', { ID: id }, { repeatable: true, deadlineMs: ttlMs / 4 });
        if (!isRecord(result) || number(result['TTL']) <= 0) throw noLease(id);
      },
      revoke: async () => {
        open();
        await gateway.call('lease/revoke', { ID: id }, { repeatable: true }).catch((error: unknown) => {
          // It has ended before.
          if (!(error instanceof EtcdRefusal) || !error.isNotFound) throw error;
        });
      },
    };
  };

  return {
    get: async (key) => {
      open();
      const reply = await gateway.call('kv/range', { key: encode(keys + key) }, { repeatable: true });
      const [kv] = list(reply['kvs']);
      return kv === undefined ? undefined : entryOf(kv);
    },
    list: async ({ prefix: wanted, after, limit }) => {
      open();
      const most = Math.min(Math.max(1, limit ?? STORE_LIMITS.page), STORE_LIMITS.page);
      const first = after !== undefined && Buffer.compare(Buffer.from(after), Buffer.from(wanted)) >= 0 ? `${after}\0` : wanted;
      const request = { key: encode(keys + first), range_end: endOf(keys + wanted), limit: String(most) };
      const reply = await gateway.call('kv/range', request, { repeatable: true });
      return { entries: list(reply['kvs']).map(entryOf), revision: revisionOf(reply), more: reply['more'] === true };
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
      const seconds = number((await gateway.call('lease/timetolive', { ID: id }, { repeatable: true }))['TTL']);
      return seconds < 0 ? undefined : seconds * 1000;
    },
    close: async () => {
      if (closed) return;
      closed = true;
      stopping.abort();
      await Promise.allSettled(pending);
      gateway.close();
    },
  };
}

/** The cluster's revision at which this platform began: when its first key was written, once. */
async function begin(gateway: EtcdGateway, key: string): Promise<number> {
  const name = encode(key);
  await gateway.call(
    'kv/txn',
    {
      compare: [{ key: name, target: 'CREATE', result: 'EQUAL', create_revision: '0' }],
      success: [{ request_put: { key: name, value: '' } }],
    },
    { repeatable: true },
  );
  const [kv] = list((await gateway.call('kv/range', { key: name }, { repeatable: true }))['kvs']);
  if (kv === undefined) throw new Failure('storage_failed', { message: `The key ${key} of the etcd cluster vanished while it was read.` });
  return number(kv['create_revision']);
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
