// Reports of many machines in few commits: what comes while a commit is under way goes with the next one. A store that others share flushes
// its disk for every commit, so a thousand agents that each wait for one of their own would wait for each other.

import { messageOf } from '../../lib/failure.ts';
import type { Operation } from '../../store/collection.ts';
import type { View } from '../../store/view.ts';

const MOST_WRITES = 90;
/** Full commits go beside each other; what is less waits for the one before, and grows. */
const AT_ONCE = 4;
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
  const underWay = new Set<string>();
  let running = 0;

  /** The oldest that fit into one commit. */
  const take = (): { readonly operations: Operation[]; readonly taken: Waiting[]; readonly keys: string[] } => {
    const [operations, taken, keys]: [Operation[], Waiting[], string[]] = [[], [], []];
    let characters = 0;
    for (const [key, entry] of waiting) {
      // What is written of one key comes in order.
      if (underWay.has(key)) continue;
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
      if (operation !== null) keys.push(key);
      characters += size;
      if (operation !== null) operations.push(operation);
      if (operations.length >= MOST_WRITES) break;
    }
    return { operations, taken, keys };
  };

  const run = async (): Promise<void> => {
    running += 1;
    // What is reported in the same turn goes together.
    await Promise.resolve();
    while (running === 1 || waiting.size >= MOST_WRITES) {
      const { operations, taken, keys } = take();
      if (taken.length === 0) break;
      for (const key of keys) underWay.add(key);
      try {
        if (operations.length > 0) await view.commit(...operations);
        for (const { waiters } of taken) for (const waiter of waiters) waiter.resolve();
      } catch (error) {
        for (const { waiters } of taken)
          for (const waiter of waiters) waiter.reject(error instanceof Error ? error : new Error(messageOf(error)));
      }
      for (const key of keys) underWay.delete(key);
    }
    running -= 1;
  };

  return {
    write: (key, build) =>
      new Promise((resolve, reject) => {
        const entry = waiting.get(key) ?? { build, waiters: [] };
        entry.build = build;
        entry.waiters.push({ resolve, reject });
        waiting.set(key, entry);
        if (running === 0 || (running < AT_ONCE && waiting.size >= MOST_WRITES)) void run();
      }),
  };
}
