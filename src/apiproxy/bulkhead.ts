// What one Environment may have open at an API Proxy at the same time, so that an App that floods or hangs takes its own part and leaves
// the others theirs.

export interface Bulkhead {
  /** false: it has as much open as it may. What entered has to leave. */
  enter(party: string): boolean;
  leave(party: string): void;
}

export function createBulkhead(max: number): Bulkhead {
  const open = new Map<string, number>();
  return {
    enter: (party) => {
      const now = open.get(party) ?? 0;
      if (now >= max) return false;
      open.set(party, now + 1);
      return true;
    },
    leave: (party) => {
      const left = (open.get(party) ?? 1) - 1;
      if (left > 0) open.set(party, left);
      else open.delete(party);
    },
  };
}
