// Copies a store into an empty one of whatever engine, while nobody uses either. One that was broken off is known by a mark, is not opened by
// a platform, and is begun anew.

import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { STORE_LIMITS } from './store.ts';
import type { Entry, Store, Write } from './store.ts';

export interface MigrateOptions {
  readonly from: Store;
  readonly to: Store;
  readonly clock: Clock;
  /** Entries so far. */
  readonly onProgress?: (copied: number) => void;
}

const MARK = 'migrating/store';
/** Say who uses a store at the moment. */
const PRESENT = ['leaders/', 'control-planes/', 'pulse/'] as const;
/** Below the bound of a commit, which counts bytes of UTF-8. */
const COMMIT_CHARACTERS = STORE_LIMITS.commitBytes / 8;
const LEAST_LEASE_MS = 1_000;

/** Throws `storage_failed` where the store is a copy that was broken off. */
export async function refuseHalfCopy(store: Store): Promise<void> {
  if ((await store.get(MARK)) === undefined) return;
  throw new Failure('storage_failed', {
    message: 'This store is a copy that was broken off.',
    hint: 'Run `libra store migrate` again, with the same stores.',
  });
}

/** How many entries were copied, each of which was compared. Throws `exists` where the other store is not empty. */
export async function migrateStore({ from, to, onProgress }: MigrateOptions): Promise<number> {
  await refuseHalfCopy(from);
  await prepare(to);
  const leases = new Map<string, string>();
  const leaseOf = async (entry: Entry): Promise<string | undefined> => {
    if (entry.leaseId === null) return undefined;
    const known = leases.get(entry.leaseId);
    if (known !== undefined) return known;
    const leftMs = await from.leaseLeftMs(entry.leaseId);
    const lease = await to.lease({ ttlMs: Math.max(LEAST_LEASE_MS, Math.ceil(leftMs ?? 0)) });
    leases.set(entry.leaseId, lease.id);
    return lease.id;
  };
  let copied = 0;
  let writes: Write[] = [];
  let characters = 0;
  const flush = async (): Promise<void> => {
    if (writes.length > 0) await to.commit({ compare: [{ key: MARK, exists: true }], writes });
    copied += writes.length;
    writes = [];
    characters = 0;
    onProgress?.(copied);
  };
  for await (const entry of entriesOf(from)) {
    const size = entry.key.length + entry.value.length;
    if (writes.length >= STORE_LIMITS.writes || characters + size > COMMIT_CHARACTERS) await flush();
    writes.push({ kind: 'put', key: entry.key, value: entry.value, leaseId: await leaseOf(entry) });
    characters += size;
  }
  await flush();
  await compare(from, to);
  await to.commit({ compare: [], writes: [{ kind: 'delete', key: MARK }] });
  return copied;
}

/** Marks the store; one that was begun before is emptied. */
async function prepare(store: Store): Promise<void> {
  const isMarked = (await store.get(MARK)) !== undefined;
  for await (const { key } of entriesOf(store)) {
    if (!isMarked) {
      throw new Failure('exists', {
        message: `The store to copy to is not empty: it holds ${key}.`,
        hint: 'Name an empty one, such as etcd://…/<another name>.',
      });
    }
    await store.commit({ compare: [], writes: [{ kind: 'delete', key }] });
  }
  await store.commit({ compare: [], writes: [{ kind: 'put', key: MARK, value: '' }] });
}

async function compare(from: Store, to: Store): Promise<void> {
  const copies = entriesOf(to);
  for await (const entry of entriesOf(from)) {
    const next = await copies.next();
    const copy = next.done === true ? undefined : next.value;
    if (copy?.key !== entry.key || copy.value !== entry.value || (copy.leaseId === null) !== (entry.leaseId === null)) {
      throw new Failure('storage_failed', {
        message: `The copy differs at ${entry.key}.`,
        hint: 'Nothing of the original was changed. See that nobody writes to either store, and try again.',
      });
    }
  }
  if ((await copies.next()).done !== true) throw new Failure('storage_failed', { message: 'The copy holds more than the original.' });
}

/** All but what says something of the store itself, in key order. */
async function* entriesOf(store: Store): AsyncGenerator<Entry, void, undefined> {
  for (let after: string | undefined; ;) {
    const { entries, more } = await store.list({ prefix: '', after });
    for (const entry of entries) if (entry.key !== MARK && !PRESENT.some((prefix) => entry.key.startsWith(prefix))) yield entry;
    after = entries.at(-1)?.key;
    if (!more) return;
  }
}
