// Watches as cursors: each remembers only the next revision it wants and reads it from what the storage keeps. A slow watcher therefore
// costs nothing; when its place has been compacted away it is told so. A batch is never split, skipped or repeated.

import { Failure } from '../lib/failure.ts';
import type { Storage } from './storage.ts';
import type { Change, ChangeBatch, WatchOptions } from './store.ts';

const MAX_WATCHERS = 4096;
/** Batches that a watcher takes in hand at once. */
const READ_AHEAD = 16;

export interface Watchers {
  watch(options: WatchOptions): AsyncIterable<ChangeBatch>;
  /** New revisions are there. */
  wake(): void;
  /** Ends every watch. */
  stop(): void;
}

export function createWatchers(deps: { readonly storage: Storage; readonly revision: () => number }): Watchers {
  const { storage } = deps;
  const asleep = new Set<() => void>();
  let active = 0;
  const stopping = new AbortController();

  const wakeAll = (): void => {
    const sleepers = [...asleep];
    asleep.clear();
    for (const rouse of sleepers) rouse();
  };

  const sleep = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => {
      const rouse = (): void => {
        asleep.delete(rouse);
        signal.removeEventListener('abort', rouse);
        resolve();
      };
      asleep.add(rouse);
      signal.addEventListener('abort', rouse, { once: true });
    });

  async function* follow({ prefix, fromRevision, signal }: WatchOptions): AsyncGenerator<ChangeBatch, void, undefined> {
    if (active >= MAX_WATCHERS) throw new Failure('rate_limited', { message: `The store has ${MAX_WATCHERS} watchers already.` });
    active += 1;
    try {
      let next = Math.max(1, fromRevision);
      while (!signal.aborted && !stopping.signal.aborted) {
        if (next > deps.revision()) {
          await sleep(signal);
          continue;
        }
        const compacted = storage.compactedRevision();
        if (next <= compacted) throw compactedFailure(next, compacted);
        for (const batch of storage.history(next, READ_AHEAD)) {
          next = batch.revision + 1;
          const wanted = underPrefix(batch, prefix);
          if (wanted === undefined) continue;
          yield wanted;
          if (signal.aborted || stopping.signal.aborted) return;
        }
      }
    } finally {
      active -= 1;
    }
  }

  return {
    watch: follow,
    wake: wakeAll,
    stop: () => {
      stopping.abort();
      wakeAll();
    },
  };
}

function keyOf(change: Change): string {
  return change.kind === 'put' ? change.entry.key : change.key;
}

function underPrefix(batch: ChangeBatch, prefix: string): ChangeBatch | undefined {
  if (prefix === '') return batch;
  const changes = batch.changes.filter((change) => keyOf(change).startsWith(prefix));
  return changes.length === 0 ? undefined : { revision: batch.revision, changes };
}

function compactedFailure(revision: number, compacted: number): Failure {
  return new Failure('compacted', {
    message: `Changes up to revision ${compacted} are no longer kept; the watch asked for revision ${revision}.`,
    hint: 'List the current state and watch from there.',
    details: { revision, compactedRevision: compacted },
  });
}
