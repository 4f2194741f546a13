// Whose turn it is, of Environments that are to be looked at: each once until it has been, in the order in which they came, except that
// those with few Instances take turns with those that have many. So one Instance never waits for a hundred thousand to be placed.

/** More than this is many. */
const FEW = 20;
/** Those that are busy at the same time, and how many with few Instances may be besides. */
const AT_ONCE = 8;
const MORE_FEW = 8;

export interface Turns {
  readonly size: number;
  /** @param wanted how many Instances it shall have. */
  add(id: string, wanted: number): void;
  /** The next one that is not busy, of those with few Instances where so many are busy that the rest waits; undefined: there is none. */
  next(busy: { has(id: string): boolean; readonly size: number }): string | undefined;
  /** How many Instances it had when it was looked at. */
  note(id: string, instances: number): void;
}

export function createTurns(): Turns {
  const few = new Set<string>();
  const many = new Set<string>();
  /** Those that have many. */
  const large = new Set<string>();
  let turn = 0;

  const first = (queue: Set<string>, busy: { has(id: string): boolean }): string | undefined => {
    for (const id of queue) {
      if (busy.has(id)) continue;
      queue.delete(id);
      return id;
    }
    return undefined;
  };

  return {
    get size() {
      return few.size + many.size;
    },
    add: (id, wanted) => {
      if (few.has(id) || many.has(id)) return;
      (large.has(id) || wanted > FEW ? many : few).add(id);
    },
    next: (busy) => {
      if (busy.size >= AT_ONCE) return busy.size < AT_ONCE + MORE_FEW ? first(few, busy) : undefined;
      turn += 1;
      const [one, other] = turn % 2 === 0 ? [many, few] : [few, many];
      return first(one, busy) ?? first(other, busy);
    },
    note: (id, instances) => {
      if (instances > FEW) large.add(id);
      else large.delete(id);
    },
  };
}
