// The newest change batches in memory, bounded by count and by bytes, from which watchers read at their own pace. A watcher holds no
// queue of its own: one that falls behind what is kept here (and in the engine's log) gets `compacted`, so memory stays bounded.

import type { Change, ChangeBatch } from './store.ts';

export interface RecentChanges {
  /** Appends the next revision's batch. */
  push(batch: ChangeBatch): void;
  /** The oldest revision kept; the one after the newest when nothing is kept. */
  readonly firstRevision: number;
  /** Batches from `fromRevision` on, at most `limit`; `fromRevision` must not be older than firstRevision. */
  read(fromRevision: number, limit: number): readonly ChangeBatch[];
}

const CHANGE_OVERHEAD_BYTES = 200;

function sizeOf(change: Change): number {
  return CHANGE_OVERHEAD_BYTES + (change.kind === 'put' ? change.entry.key.length + change.entry.value.length : change.key.length);
}

function batchBytes(batch: ChangeBatch): number {
  let bytes = 0;
  for (const change of batch.changes) bytes += sizeOf(change);
  return bytes;
}

/** `startRevision`: the store's revision at the time of creation. The newest batch is always kept, however large. */
export function createRecentChanges(options: {
  readonly startRevision: number;
  readonly maxRevisions: number;
  readonly maxBytes: number;
}): RecentChanges {
  // Batches have consecutive revisions, so the place of a revision is arithmetic. `head` counts forgotten slots until they are cut off.
  let slots: (ChangeBatch | undefined)[] = [];
  let head = 0;
  let firstRevision = options.startRevision + 1;
  let bytes = 0;

  const forgetOldest = (): void => {
    const oldest = slots[head];
    if (oldest !== undefined) bytes -= batchBytes(oldest);
    slots[head] = undefined;
    head += 1;
    firstRevision += 1;
    if (head > 256 && head * 2 > slots.length) {
      slots = slots.slice(head);
      head = 0;
    }
  };

  return {
    get firstRevision() {
      return firstRevision;
    },
    push: (batch) => {
      slots.push(batch);
      bytes += batchBytes(batch);
      while (slots.length - head > 1 && (slots.length - head > options.maxRevisions || bytes > options.maxBytes)) forgetOldest();
    },
    read: (fromRevision, limit) => {
      const from = head + (fromRevision - firstRevision);
      const found: ChangeBatch[] = [];
      for (const batch of slots.slice(from, from + limit)) if (batch !== undefined) found.push(batch);
      return found;
    },
  };
}
