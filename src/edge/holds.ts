// Requests to Apps that are paused: they wait, bounded in number and time, and go on in the order in which they came. Waiting costs a
// connection and nothing else: the body stays with the client.

import type { RouteGroup, RouteHold } from '../api/dataplane.ts';
import type { Clock } from '../lib/clock.ts';

export interface Holds {
  isHeld(groupId: string): boolean;
  /** Resolves with true when the pause has ended, with false when the request may wait no longer, or too many wait already. */
  wait(groupId: string, signal: AbortSignal): Promise<boolean>;
  waiting(): number;
  /** Groups that have changed, and those that are no more. */
  change(put: readonly RouteGroup[], remove: readonly string[]): void;
  stop(): void;
}

interface Held {
  hold: RouteHold;
  /** In the order in which they came. */
  readonly waiters: Set<(flow: boolean) => void>;
  cancelTimer: (() => void) | null;
}

export function createHolds(clock: Clock): Holds {
  const held = new Map<string, Held>();

  const release = (entry: Held, flow: boolean): void => {
    entry.cancelTimer?.();
    entry.cancelTimer = null;
    const waiters = [...entry.waiters];
    entry.waiters.clear();
    for (const resolve of waiters) resolve(flow);
  };
  const end = (id: string): void => {
    const entry = held.get(id);
    if (entry === undefined) return;
    held.delete(id);
    release(entry, true);
  };
  const arm = (entry: Held): void => {
    entry.cancelTimer?.();
    entry.cancelTimer = null;
    if (entry.waiters.size === 0) return;
    const restMs = entry.hold.untilMs - clock.now();
    if (restMs <= 0) release(entry, false);
    else entry.cancelTimer = clock.timer(restMs, () => arm(entry));
  };

  return {
    isHeld: (groupId) => held.size > 0 && held.has(groupId),
    wait: (groupId, signal) => {
      const entry = held.get(groupId);
      if (entry === undefined) return Promise.resolve(true);
      const { hold, waiters } = entry;
      if (signal.aborted || hold.untilMs <= clock.now() || waiters.size >= hold.max) return Promise.resolve(false);
      return new Promise((resolve) => {
        const end = (flow: boolean): void => {
          signal.removeEventListener('abort', onAbort);
          waiters.delete(end);
          resolve(flow);
        };
        const onAbort = (): void => end(false);
        signal.addEventListener('abort', onAbort, { once: true });
        waiters.add(end);
        if (entry.cancelTimer === null) arm(entry);
      });
    },
    waiting: () => {
      let count = 0;
      for (const { waiters } of held.values()) count += waiters.size;
      return count;
    },
    change: (put, remove) => {
      for (const id of remove) end(id);
      for (const { id, hold } of put) {
        const entry = held.get(id);
        if (hold === undefined) end(id);
        else if (entry === undefined) held.set(id, { hold, waiters: new Set(), cancelTimer: null });
        else {
          entry.hold = hold;
          arm(entry);
        }
      }
    },
    stop: () => {
      for (const entry of held.values()) release(entry, false);
    },
  };
}
