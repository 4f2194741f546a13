// Takes away what Apps kept in Environments that are gone: whatever was written last, and however their end was broken off.

import { Failure, isFailure } from '../../lib/failure.ts';
import type { Operation } from '../../store/collection.ts';
import { remove } from '../../store/records.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import { environmentRecords } from '../deploys/records.ts';
import type { KvStore } from './kv-store.ts';
import { kvPrefixOf, kvRecords, lockCounterRecords, lockRecords } from './records.ts';

const EVERY_MS = 600_000;
const PER_COMMIT = 30;

export function createLeftOverReconciler({ store, view, clock }: ControlContext, kv: KvStore): Reconciler {
  let known: ReadonlySet<string> = new Set();
  let sweptMs = Number.NEGATIVE_INFINITY;

  const isGone = (environmentId: string): boolean => view.get(environmentRecords, environmentId) === undefined;
  const commit = async (operations: readonly (readonly Operation[])[]): Promise<void> => {
    for (let from = 0; from < operations.length; from += PER_COMMIT) {
      try {
        await view.commit(...operations.slice(from, from + PER_COMMIT).flat());
      } catch (error) {
        // Said without the names, which no log shall hold.
        throw isFailure(error, 'conflict') ? new Failure('conflict', { message: 'What is left over was changed meanwhile.' }) : error;
      }
    }
  };

  const clearKeys = async (environmentId: string): Promise<void> => {
    for (;;) {
      const { entries, more } = await kv.page(environmentId, '', undefined);
      await commit(entries.map((entry) => kv.removing(kv.decode(entry))));
      if (!more) return;
    }
  };

  /** Environments that keep keys, found by leaps from one to the next. */
  async function* keepers(): AsyncGenerator<string, void, undefined> {
    for (let after: string | undefined; ;) {
      const { entries } = await store.list({ prefix: `${kvRecords.name}/`, limit: 1, ...(after === undefined ? {} : { after }) });
      const environmentId = entries[0]?.key.split('/')[1];
      if (environmentId === undefined) return;
      yield environmentId;
      // Behind all of its keys: none is made of anything higher.
      after = `${kvPrefixOf(environmentId)}${'~'.repeat(300)}`;
    }
  }

  return {
    name: 'librad-left-over',
    everyMs: EVERY_MS,
    wakeOn: [environmentRecords.name],
    run: async (signal) => {
      const present = new Set(view.list(environmentRecords).map(({ document }) => document.id));
      const hasLost = [...known].some((id) => !present.has(id));
      // Environments change all the time; only one that goes leaves something behind.
      if (!hasLost && clock.monotonic() - sweptMs < EVERY_MS) {
        known = present;
        return;
      }
      for await (const environmentId of keepers()) {
        signal.throwIfAborted();
        if (isGone(environmentId)) await clearKeys(environmentId);
      }
      const locks = view.list(lockRecords).filter(({ document }) => isGone(document.environmentId));
      await commit(locks.map((lock) => [remove(lockRecords, lock)]));
      const counters = view.list(lockCounterRecords).filter(({ document }) => isGone(document.id));
      await commit(counters.map((counter) => [remove(lockCounterRecords, counter)]));
      known = present;
      sweptMs = clock.monotonic();
    },
  };
}
