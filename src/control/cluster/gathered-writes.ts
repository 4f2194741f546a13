// Reports of many machines in few commits: what comes while a commit is under way goes with the next one. A store that others share flushes
// its disk for every commit, so a thousand agents that each wait for one of their own would wait for each other.

import { messageOf } from '../../lib/failure.ts';
import type { Operation } from '../../store/collection.ts';
import type { View } from '../../store/view.ts';

const MOST_WRITES = 90;
/** Below the bound of a commit, with room for keys. */
const MOST_CHARACTERS = 300_000;

interface Waiting {
  build: () => Operation | null;
  readonly waiters: { resolve(): void; reject(error: unknown): void }[];
}

export interface GatheredWrites {
  /**
   * Resolves when what `build` gives is committed. It is asked at the last moment, and may have nothing to write any more by then. Of
   * several with the same key only the last one is asked. Its operation must write one key, and compare none.
   */
  write(key: string, build: () => Operation | null): Promise<void>;
}

export function gatherWrites(view: Pick<View, 'commit'>): GatheredWrites {
  const waiting = new Map<string, Waiting>();
  let running = false;

  /** The oldest that fit into one commit. */
  const take = (): { readonly operations: Operation[]; readonly taken: Waiting[] } => {
    const [operations, taken]: [Operation[], Waiting[]] = [[], []];
    let characters = 0;
    for (const [key, entry] of waiting) {
      let operation: Operation | null;
      try {
        operation = entry.build();
      } catch (error) {
        waiting.delete(key);
        for (const waiter of entry.waiters) waiter.reject(error);
        continue;
      }
      const size = operation?.writes.reduce((sum, write) => sum + (write.kind === 'put' ? write.value.length : 0), 0) ?? 0;
      if (operations.length > 0 && characters + size > MOST_CHARACTERS) break;
      waiting.delete(key);
      taken.push(entry);
      characters += size;
      if (operation !== null) operations.push(operation);
      if (operations.length >= MOST_WRITES) break;
    }
    return { operations, taken };
  };

  const run = async (): Promise<void> => {
    running = true;
    // What is reported in the same turn goes together.
    await Promise.resolve();
    while (waiting.size > 0) {
      const { operations, taken } = take();
      try {
        if (operations.length > 0) await view.commit(...operations);
        for (const { waiters } of taken) for (const waiter of waiters) waiter.resolve();
      } catch (error) {
        for (const { waiters } of taken)
          for (const waiter of waiters) waiter.reject(error instanceof Error ? error : new Error(messageOf(error)));
      }
    }
    running = false;
  };

  return {
    write: (key, build) =>
      new Promise((resolve, reject) => {
        const entry = waiting.get(key) ?? { build, waiters: [] };
        entry.build = build;
        entry.waiters.push({ resolve, reject });
        waiting.set(key, entry);
        if (!running) void run();
      }),
  };
}
