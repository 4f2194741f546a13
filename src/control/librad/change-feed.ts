// Changes under one prefix for any number of readers, from the one watch that the view has open anyway: each reader is a position, and
// memory holds the newest changes only. A reader that is further behind, such as one that comes back after this process was killed, reads
// the store's own history first; what that no longer has is `compacted`. Nothing is lost, nothing is told twice.

import type { Clock } from '../../lib/clock.ts';
import type { Change, ChangeBatch, Store } from '../../store/store.ts';
import { createWakeup } from '../wakeup.ts';
import type { Wakeup } from '../wakeup.ts';

/** `changes` is empty where all up to `position` is told: at first, and whenever nothing has happened for a while. */
export interface FeedStep {
  readonly position: number;
  readonly changes: readonly Change[];
}

export interface ChangeFeed {
  /** The next batch of the store. */
  readonly push: (batch: ChangeBatch) => void;
  /** What changed up to this revision was not pushed. */
  readonly restart: (revision: number) => void;
  /** All changes after a revision under a prefix, in order; says so when it is idle. Throws `compacted`. */
  follow(options: {
    readonly prefix: string;
    readonly after: number;
    readonly signal: AbortSignal;
  }): AsyncGenerator<FeedStep, void, undefined>;
}

const KEPT_BATCHES = 4096;
const KEPT_CHARACTERS = 16 * 1024 * 1024;
const IDLE_MS = 30_000;

export interface ChangeFeedOptions {
  readonly store: Store;
  readonly clock: Clock;
  /** Of all keys that it ever tells of. */
  readonly prefix: string;
}

export function createChangeFeed({ store, clock, prefix: ours }: ChangeFeedOptions): ChangeFeed {
  const readers = new Map<Wakeup, string>();
  let kept: { readonly batch: ChangeBatch; readonly characters: number }[] = [];
  let characters = 0;
  /** All of ours after this revision and up to `upTo` is kept. */
  let keptAfter = 0;
  let upTo = 0;

  const forget = (): void => {
    let count = 0;
    // Half of it at once: cutting off one after the other would move all the rest each time.
    while (count < kept.length && (kept.length - count > KEPT_BATCHES / 2 || characters > KEPT_CHARACTERS / 2)) {
      const oldest = kept[count];
      characters -= oldest?.characters ?? 0;
      keptAfter = oldest?.batch.revision ?? keptAfter;
      count += 1;
    }
    kept = kept.slice(count);
  };

  async function* history(prefix: string, after: number, to: number, signal: AbortSignal): AsyncGenerator<FeedStep, void, undefined> {
    // Of all keys: only so is it sure that the last revision comes by.
    for await (const batch of store.watch({ prefix: '', fromRevision: after + 1, signal })) {
      yield { position: batch.revision, changes: under(prefix, batch) };
      if (batch.revision >= to) return;
    }
  }

  return {
    push: (batch) => {
      upTo = batch.revision;
      const changes = under(ours, batch);
      if (changes.length === 0) return;
      const size = changes.reduce((sum, change) => sum + keyOf(change).length + (change.kind === 'put' ? change.entry.value.length : 0), 0);
      kept.push({ batch: { revision: batch.revision, changes }, characters: size });
      characters += size;
      if (kept.length > KEPT_BATCHES || characters > KEPT_CHARACTERS) forget();
      for (const [wakeup, prefix] of readers) if (changes.some((change) => keyOf(change).startsWith(prefix))) wakeup.wake();
    },
    restart: (revision) => {
      kept = [];
      characters = 0;
      keptAfter = revision;
      upTo = revision;
      for (const wakeup of readers.keys()) wakeup.wake();
    },
    follow: async function* ({ prefix, after, signal }) {
      const wakeup = createWakeup(clock);
      readers.set(wakeup, prefix);
      try {
        let position = after;
        let isIdle = true;
        while (!signal.aborted) {
          if (position < keptAfter) {
            for await (const step of history(prefix, position, upTo, signal)) {
              position = step.position;
              if (step.changes.length > 0) yield step;
            }
            continue;
          }
          const end = Math.max(position, upTo);
          const from = position;
          for (const { batch } of kept.filter(({ batch: { revision } }) => revision > from)) {
            const changes = under(prefix, batch);
            if (changes.length > 0) yield { position: batch.revision, changes };
          }
          position = end;
          if (isIdle) yield { position, changes: [] };
          isIdle = !(await wakeup.wait(IDLE_MS, signal));
        }
      } finally {
        readers.delete(wakeup);
      }
    },
  };
}

function keyOf(change: Change): string {
  return change.kind === 'put' ? change.entry.key : change.key;
}

function under(prefix: string, batch: ChangeBatch): readonly Change[] {
  return batch.changes.filter((change) => keyOf(change).startsWith(prefix));
}
