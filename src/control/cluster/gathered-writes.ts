// Reports of many machines in few commits: what comes while a commit is under way goes with the next one. A store that others share flushes
// its disk for every commit, so a thousand agents that each wait for one of their own would wait for each other.

import { messageOf } from '../../lib/failure.ts';
import type { Operation } from '../../store/collection.ts';
import type { View } from '../../store/view.ts';

const MOST_WRITES = 90;
/** Full commits go beside each other; what is less waits for the one before, and grows. */
const AT_ONCE = 8;
/** Below the bound of a commit, with room for keys. */
const MOST_CHARACTERS = 300_000;

interface Waiting {
  build: () => Operation | null;
  readonly waiters: { resolve(): void; reject(error: unknown): void }[];
}

export interface GatheredWrites {
  /**
   * Resolves when what `build` gives is committed. It is asked at the last moment, and may have nothing to write any more by then. Of
   * several with the same key only the last one is asked. Its operation must write one key, and compare none. Groups take turns: one of
   * which little is written does not wait for one of which much is. A key is of one group.
   */
  write(key: string, build: () => Operation | null, group?: string): Promise<void>;
}

export function gatherWrites(view: Pick<View, 'commit'>): GatheredWrites {
  /** By their groups, of which the one whose turn it is comes first. */
  const waiting = new Map<string, Map<string, Waiting>>();
  const underWay = new Set<string>();
  let count = 0;
  let running = 0;

  /** What fits into one commit: of each group its oldest, in turn. */
  const take = (): { readonly operations: Operation[]; readonly taken: Waiting[]; readonly keys: string[] } => {
    const [operations, taken, keys]: [Operation[], Waiting[], string[]] = [[], [], []];
    let characters = 0;
    let blocked = 0;
    while (operations.length < MOST_WRITES && blocked < waiting.size) {
      const [[group, entries] = ['', new Map<string, Waiting>()]] = waiting;
      // What is written of one key comes in order.
      const next = entries.entries().find(([key]) => !underWay.has(key));
      waiting.delete(group);
      if (next === undefined) {
        waiting.set(group, entries);
        blocked += 1;
        continue;
      }
      const [key, entry] = next;
      const operation = attempt(entry);
      const size = operation?.writes.reduce((sum, write) => sum + (write.kind === 'put' ? write.value.length : 0), 0) ?? 0;
      const isFull = operations.length > 0 && characters + size > MOST_CHARACTERS;
      if (!isFull) {
        entries.delete(key);
        count -= 1;
        blocked = 0;
      }
      if (entries.size > 0) waiting.set(group, entries);
      if (isFull) break;
      if (operation === undefined) continue;
      taken.push(entry);
      characters += size;
      if (operation === null) continue;
      operations.push(operation);
      keys.push(key);
    }
    return { operations, taken, keys };
  };

  /** undefined: it cannot be built, which its waiters have been told. */
  const attempt = ({ build, waiters }: Waiting): Operation | null | undefined => {
    try {
      return build();
    } catch (error) {
      for (const waiter of waiters) waiter.reject(error);
      return undefined;
    }
  };

  const run = async (): Promise<void> => {
    running += 1;
    // What is reported in the same turn goes together.
    await Promise.resolve();
    while (running === 1 || count >= MOST_WRITES) {
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
    write: (key, build, group = '') =>
      new Promise((resolve, reject) => {
        const entries = waiting.get(group) ?? new Map<string, Waiting>();
        waiting.set(group, entries);
        const entry = entries.get(key) ?? { build, waiters: [] };
        entry.build = build;
        entry.waiters.push({ resolve, reject });
        if (!entries.has(key)) count += 1;
        entries.set(key, entry);
        if (running === 0 || (running < AT_ONCE && count >= MOST_WRITES)) void run();
      }),
  };
}
