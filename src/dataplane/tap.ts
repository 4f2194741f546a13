// The latest requests of this Edge, and those to come for whoever watches. While nobody does, a request costs one place in a ring; what
// a watcher cannot be told in time is dropped and counted, never waited for.

import type { Tap, TapBatch } from '../api/dataplane.ts';
import type { Clock } from '../lib/clock.ts';
import { matchesRequest } from '../model/request-filter.ts';
import type { RequestFilter, RequestLine } from '../model/request-filter.ts';
import { RecentLines } from './recent-lines.ts';

export interface Taps {
  /** The line of a request that has ended, with its end. */
  push(line: string): void;
  /** All that are wanted from now on. */
  want(taps: readonly Tap[]): void;
  stop(): void;
}

export interface TapsOptions {
  readonly clock: Clock;
  /** False: nobody waits for it any more. */
  readonly post: (batch: Omit<TapBatch, 'edgeId'>, signal: AbortSignal) => Promise<boolean>;
}

const RING = 256;
const QUEUED = 1_000;
const BATCH = 200;
const GATHER_MS = 100;
const MAX_TAPS = 16;

interface Watcher {
  readonly tap: Tap;
  queue: string[];
  dropped: number;
  /** What it finds in the ring has not been told yet. */
  first: boolean;
  sending: boolean;
  cancel: (() => void) | null;
}

export function createTaps({ clock, post }: TapsOptions): Taps {
  const recent = new RecentLines(RING);
  const watchers = new Map<string, Watcher>();
  const stopping = new AbortController();

  const drop = (watcher: Watcher): void => {
    watcher.cancel?.();
    watchers.delete(watcher.tap.id);
  };

  const send = async (watcher: Watcher): Promise<void> => {
    watcher.sending = true;
    while (watcher.first || watcher.queue.length > 0) {
      const { first, dropped } = watcher;
      const lines = watcher.queue.slice(0, BATCH).map((line) => line.trimEnd());
      watcher.queue = watcher.queue.slice(BATCH);
      watcher.dropped = 0;
      // The last of what was there before.
      const caughtUp = first && watcher.queue.length === 0;
      if (caughtUp) watcher.first = false;
      try {
        if (!(await post({ tap: watcher.tap.id, lines, dropped, caughtUp }, stopping.signal)) || (caughtUp && !watcher.tap.follow)) {
          drop(watcher);
          break;
        }
      } catch {
        // Control is away: it asks again when it is back.
        drop(watcher);
        break;
      }
      if (stopping.signal.aborted || watchers.get(watcher.tap.id) !== watcher) break;
    }
    watcher.sending = false;
  };

  const begin = (tap: Tap): void => {
    const kept = tap.tail === 0 ? [] : recent.all().filter((line) => matches(tap.filter, line));
    const watcher: Watcher = {
      tap,
      queue: tap.tail === 0 ? [] : kept.slice(-tap.tail),
      dropped: 0,
      first: true,
      sending: false,
      cancel: null,
    };
    watchers.set(tap.id, watcher);
    void send(watcher);
  };

  return {
    push: (line) => {
      recent.push(line);
      if (watchers.size === 0) return;
      for (const watcher of watchers.values()) {
        if (!watcher.tap.follow || !matches(watcher.tap.filter, line)) continue;
        if (watcher.queue.length >= QUEUED) watcher.dropped += 1;
        else watcher.queue.push(line);
        if (watcher.sending || watcher.cancel !== null) continue;
        watcher.cancel = clock.timer(GATHER_MS, () => {
          watcher.cancel = null;
          void send(watcher);
        });
      }
    },
    want: (taps) => {
      const wanted = taps.slice(0, MAX_TAPS);
      for (const watcher of watchers.values()) if (!wanted.some(({ id }) => id === watcher.tap.id)) drop(watcher);
      for (const tap of wanted) if (!watchers.has(tap.id)) begin(tap);
    },
    stop: () => {
      stopping.abort();
      for (const watcher of watchers.values()) drop(watcher);
    },
  };
}

/** The line is our own. */
function matches(filter: RequestFilter, line: string): boolean {
  return matchesRequest(filter, JSON.parse(line) as RequestLine);
}
