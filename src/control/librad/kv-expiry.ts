// Deletes what has lived its time. A key ends by a commit like any other deletion, never by somebody's clock in a read: so all see it end
// at the same moment, and a clock that is wrong makes it end early or late, but never lets two readers disagree.

import { isFailure } from '../../lib/failure.ts';
import type { Operation, Stored } from '../../store/collection.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import type { KvStore } from './kv-store.ts';
import { keyOf } from './kv-store.ts';
import type { KvUsage } from './kv-usage.ts';
import { EXPIRIES, parseExpiryKey } from './records.ts';
import type { KvRecord } from './records.ts';

export interface KvExpiry extends Reconciler {
  /** Something ends at that time. */
  reckonWith(expiresAtMs: number): void;
  readonly onEarlier: (listener: () => void) => () => void;
}

const EVERY_MS = 30_000;
/** Entries of the index that are looked at at once. */
const PAGE = 200;

export function createKvExpiry(
  { store, view, clock }: ControlContext,
  { kv, usage }: { readonly kv: KvStore; readonly usage: KvUsage },
): KvExpiry {
  const listeners = new Set<() => void>();
  let nextMs = Number.POSITIVE_INFINITY;

  const end = async (indexKey: string): Promise<void> => {
    const { expiresAtMs, kvId } = parseExpiryKey(indexKey);
    const environmentId = kvId.slice(0, kvId.indexOf('/'));
    const current: Stored<KvRecord> | undefined = await kv.read(environmentId, keyOf(kvId));
    if (current?.document.expiresAtMs !== expiresAtMs) {
      const forgotten: Operation = { compare: [], writes: [{ kind: 'delete', key: indexKey }] };
      await view.commit(forgotten);
      return;
    }
    await usage.change(environmentId, { keys: -1, bytes: -current.document.bytes }, () => view.commit(...kv.removing(current)));
  };

  return {
    name: 'kv-expiry',
    everyMs: EVERY_MS,
    wakeOn: [],
    reckonWith: (expiresAtMs) => {
      if (expiresAtMs >= nextMs) return;
      nextMs = expiresAtMs;
      for (const listener of listeners) listener();
    },
    onEarlier: (listener) => {
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
      };
    },
    run: async (signal) => {
      for (;;) {
        nextMs = Number.POSITIVE_INFINITY;
        const { entries, more } = await store.list({ prefix: EXPIRIES, limit: PAGE });
        const nowMs = clock.now();
        const due = entries.filter(({ key }) => parseExpiryKey(key).expiresAtMs <= nowMs);
        const ends = await Promise.allSettled(due.map(({ key }) => end(key)));
        signal.throwIfAborted();
        const failed = ends.find((one): one is PromiseRejectedResult => one.status === 'rejected' && !isFailure(one.reason, 'conflict'));
        if (failed !== undefined) throw failed.reason;
        // One that was set anew at the same moment is looked at again at once.
        if (ends.some(({ status }) => status === 'rejected') || (more && due.length === entries.length)) continue;
        const next = entries.find(({ key }) => parseExpiryKey(key).expiresAtMs > nowMs);
        if (next === undefined) return undefined;
        nextMs = Math.min(nextMs, parseExpiryKey(next.key).expiresAtMs);
        return Math.max(0, nextMs - clock.now());
      }
    },
  };
}
