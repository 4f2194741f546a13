// Who is still busy with what: open requests and streams of every target, so that an Instance is stopped only when nobody talks to it,
// and so that streams which would never end can be closed at the drain limit.

/** One open request or stream of a target. */
export interface OpenEntry {
  /** Where it is counted, and its place there; nobody else's to touch. */
  openOn: OpenTarget | null;
  openSlot: number;
  /** Ends it as politely as its protocol allows. Called at the drain limit. */
  close(): void;
}

/** What is open on one target. A list in which everyone knows its own place; about Sets see deadlines.ts. */
export interface OpenTarget {
  readonly id: string;
  readonly entries: OpenEntry[];
}

export interface OpenCounts {
  /** Counts an entry from now on. */
  enter(targetId: string, entry: OpenEntry): void;
  /** Ends that; may be called twice. */
  leave(entry: OpenEntry): void;
  count(targetId: string): number;
  /** Closes everything that is open on the target. */
  closeAll(targetId: string): void;
  /** Closes everything on every target. */
  closeEverything(): void;
  total(): number;
}

/** Targets with nothing open whose place is kept, so that one request after the other makes none anew. */
const KEPT_EMPTY = 256;

/** `onIdle` is called whenever the last open entry of a target has ended. */
export function createOpenCounts(onIdle: (targetId: string) => void): OpenCounts {
  const open = new Map<string, OpenTarget>();
  let empty = 0;
  let total = 0;
  const leave = (entry: OpenEntry): void => {
    const target = entry.openOn;
    if (target === null) return;
    const { entries } = target;
    const last = entries[entries.length - 1];
    if (last === undefined) return;
    entries[entry.openSlot] = last;
    last.openSlot = entry.openSlot;
    entries.pop();
    entry.openOn = null;
    total -= 1;
    if (entries.length > 0) return;
    if (empty < KEPT_EMPTY) empty += 1;
    else open.delete(target.id);
    onIdle(target.id);
  };
  const close = (target: OpenTarget): void => {
    // Those that leave while others are closed are closed already.
    for (const entry of target.entries.slice()) if (entry.openOn === target) entry.close();
  };
  return {
    enter: (targetId, entry) => {
      leave(entry);
      let target = open.get(targetId);
      if (target === undefined) {
        target = { id: targetId, entries: [] };
        open.set(targetId, target);
      } else if (target.entries.length === 0) empty -= 1;
      entry.openOn = target;
      entry.openSlot = target.entries.push(entry) - 1;
      total += 1;
    },
    leave,
    count: (targetId) => open.get(targetId)?.entries.length ?? 0,
    closeAll: (targetId) => {
      const target = open.get(targetId);
      if (target !== undefined) close(target);
    },
    closeEverything: () => {
      for (const target of open.values()) close(target);
    },
    total: () => total,
  };
}
