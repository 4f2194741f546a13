// Which target gets the next request. A Balancer sees only the targets that may be used; it never decides about health or draining.

import type { Target } from './dial.ts';

export interface Balancer {
  /** One of `targets`; null where the list is empty. */
  pick(targets: readonly Target[]): Target | null;
}

/** Each in turn; a list that changes in between neither skips far nor starts over. */
export function createRoundRobin(start = 0): Balancer {
  let turn = start;
  return {
    pick: (targets) => {
      if (targets.length === 0) return null;
      const picked = targets[turn % targets.length] ?? null;
      turn = (turn + 1) % 0x3fffffff;
      return picked;
    },
  };
}
