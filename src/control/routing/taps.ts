// Who watches requests: what the Edges are asked for, and what they tell back. Nothing of it is stored; a watcher that reads too slowly
// misses requests and is told how many.

import type { Tap, TapBatch } from '../../api/dataplane.ts';
import type { RequestView } from '../../api/endpoints/requests.ts';
import type { Clock } from '../../lib/clock.ts';
import { Failure } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import type { RequestFilter, RequestLine } from '../../model/request-filter.ts';
import type { StreamItem } from '../handler.ts';
import { createWakeup } from '../wakeup.ts';
import type { Wakeup } from '../wakeup.ts';

export interface TapRequest {
  readonly filter: RequestFilter;
  readonly tail: number;
  readonly follow: boolean;
}

export interface Taps {
  /** What every Edge is to watch now; changes its identity when it changes. */
  wanted(): readonly Tap[];
  /** @param edges ids of those that are connected. */
  watch(request: TapRequest, edges: readonly string[], signal: AbortSignal): AsyncGenerator<StreamItem<RequestView>>;
  /** False: nobody waits for it any more. */
  take(batch: TapBatch): boolean;
}

const WATCHERS = 16;
const QUEUED = 2_000;
/** An Edge that has not told by then what it had is not waited for. */
const FIRST_MS = 2_000;
const IDLE_MS = 60_000;
const LINES_PER_BATCH = 500;

interface Watcher {
  readonly waitingFor: Set<string>;
  readonly wakeup: Wakeup;
  queue: RequestLine[];
  dropped: number;
}

export function createTaps(clock: Clock, onChange: () => void): Taps {
  const watchers = new Map<string, Watcher>();
  let wanted: readonly Tap[] = [];

  async function* watch(request: TapRequest, edges: readonly string[], signal: AbortSignal): AsyncGenerator<StreamItem<RequestView>> {
    if (watchers.size >= WATCHERS) throw new Failure('rate_limited', { message: `${WATCHERS} watch requests already.` });
    const id = newId();
    const watcher: Watcher = { waitingFor: new Set(edges), wakeup: createWakeup(clock), queue: [], dropped: 0 };
    watchers.set(id, watcher);
    wanted = [...wanted, { id, ...request }];
    onChange();
    const next = (line: RequestLine): StreamItem<RequestView> => {
      const { dropped } = watcher;
      watcher.dropped = 0;
      return { id: null, data: { ...line, dropped } };
    };
    try {
      const untilMs = clock.monotonic() + FIRST_MS;
      while (watcher.waitingFor.size > 0 && !signal.aborted && clock.monotonic() < untilMs) {
        await watcher.wakeup.wait(untilMs - clock.monotonic(), signal);
      }
      const before = watcher.queue.toSorted((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0));
      watcher.queue = [];
      for (const line of request.tail === 0 && !request.follow ? [] : before.slice(request.follow ? 0 : -request.tail)) yield next(line);
      while (request.follow && !signal.aborted) {
        const lines = watcher.queue;
        watcher.queue = [];
        for (const line of lines) yield next(line);
        if (lines.length === 0) await watcher.wakeup.wait(IDLE_MS, signal);
      }
    } finally {
      watchers.delete(id);
      wanted = wanted.filter((tap) => tap.id !== id);
      onChange();
    }
  }

  return {
    wanted: () => wanted,
    watch,
    take: (batch) => {
      const watcher = watchers.get(batch.tap);
      if (watcher === undefined) return false;
      watcher.dropped += batch.dropped;
      for (const text of batch.lines.slice(0, LINES_PER_BATCH)) {
        // An Edge's own lines, made by the same version.
        if (watcher.queue.length < QUEUED) watcher.queue.push(JSON.parse(text) as RequestLine);
        else watcher.dropped += 1;
      }
      if (batch.caughtUp) watcher.waitingFor.delete(batch.edgeId);
      watcher.wakeup.wake();
      return true;
    },
  };
}
