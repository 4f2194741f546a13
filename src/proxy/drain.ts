// Who is still busy with what: open requests and streams of every target, so that an Instance is stopped only when nobody talks to it,
// and so that streams which would never end can be closed at the drain limit.

/** One open request or stream of a target. */
export interface OpenEntry {
  /** Ends it as politely as its protocol allows. Called at the drain limit. */
  close(): void;
}

export interface OpenCounts {
  /** Counts an entry from now on; the returned function ends it and may be called twice. */
  enter(targetId: string, entry: OpenEntry): () => void;
  count(targetId: string): number;
  /** Closes everything that is open on the target. */
  closeAll(targetId: string): void;
  /** Closes everything on every target. */
  closeEverything(): void;
  total(): number;
}

/** `onIdle` is called whenever the last open entry of a target has ended. */
export function createOpenCounts(onIdle: (targetId: string) => void): OpenCounts {
  const open = new Map<string, Set<OpenEntry>>();
  let total = 0;
  return {
    enter: (targetId, entry) => {
      let entries = open.get(targetId);
      if (entries === undefined) {
        entries = new Set();
        open.set(targetId, entries);
      }
      const own = entries;
      own.add(entry);
      total += 1;
      return () => {
        if (!own.delete(entry)) return;
        total -= 1;
        if (own.size > 0) return;
        if (open.get(targetId) === own) open.delete(targetId);
        onIdle(targetId);
      };
    },
    count: (targetId) => open.get(targetId)?.size ?? 0,
    closeAll: (targetId) => {
      for (const entry of open.get(targetId) ?? []) entry.close();
    },
    closeEverything: () => {
      for (const entries of open.values()) for (const entry of entries) entry.close();
    },
    total: () => total,
  };
}
