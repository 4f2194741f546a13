// A stream of what something is: now, and whenever it has become something else. Its id is what it was, so that whoever comes back is told
// only where it differs; states that did not last until the next look are passed over.

import { createHash } from 'node:crypto';
import type { ControlContext } from '../context.ts';
import type { StreamItem } from '../handler.ts';
import { createWakeup } from '../wakeup.ts';
import { stillRuns } from './place.ts';
import type { Place } from './place.ts';

export interface LevelOptions<T> {
  readonly place: Place;
  readonly lastEventId: string | null;
  readonly signal: AbortSignal;
  /** Whether a change of the view may have changed it. */
  readonly isTouched: (changed: ReadonlyMap<string, ReadonlySet<string>>) => boolean;
  readonly read: () => T;
  /** At least so long between two looks, milliseconds; default none. */
  readonly pauseMs?: number;
}

const IDLE_MS = 60_000;

/** Ends with its Instance. */
export async function* followLevel<T>(
  { view, clock }: Pick<ControlContext, 'view' | 'clock'>,
  { place, lastEventId, signal, isTouched, read, pauseMs = 0 }: LevelOptions<T>,
): AsyncGenerator<StreamItem<T>, void, undefined> {
  const wakeup = createWakeup(clock);
  const unsubscribe = view.onChange((changed) => {
    if (isTouched(changed)) wakeup.wake();
  });
  try {
    let last = lastEventId;
    while (!signal.aborted && stillRuns(view, place)) {
      const data = read();
      const id = createHash('sha256').update(JSON.stringify(data)).digest('base64url').slice(0, 22);
      if (id !== last) yield { id, data };
      last = id;
      if (pauseMs > 0) await clock.sleep(pauseMs, signal).catch(() => undefined);
      await wakeup.wait(IDLE_MS, signal);
    }
  } finally {
    unsubscribe();
  }
}
