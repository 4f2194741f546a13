// The loop driver: runs every reconciler alone, wakes it when the view shows a change of its collections, and keeps its last status
// for the API. A lost race (`conflict`) is no error: the pass simply runs again soon on what is true by then (invariant 1).

import { backoffMs } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { isFailure, messageOf } from '../lib/failure.ts';
import type { Random } from '../lib/id.ts';
import { startLoop } from '../lib/loop.ts';
import type { Loop, LoopStatus } from '../lib/loop.ts';
import type { View } from '../store/view.ts';
import type { Log } from '../sys/log.ts';
import type { Reconciler } from './context.ts';

export interface ReconcilerStatus extends LoopStatus {
  readonly name: string;
}

export interface Reconcilers {
  /** In the order given. */
  statuses(): readonly ReconcilerStatus[];
  /** Wakes the named one, or all. */
  wake(name?: string): void;
  /** Resolves when every wake so far has been answered by completed runs. */
  settled(): Promise<void>;
  /** Ends all loops; resolves when no pass runs any more. */
  stop(): Promise<void>;
}

const CONFLICT_RETRY = { minMs: 20, maxMs: 2000 } as const;
const ERROR_RETRY = { minMs: 500, maxMs: 30_000 } as const;

interface Running {
  readonly reconciler: Reconciler;
  readonly loop: Loop;
  lastError: string | null;
}

/** Starts a loop per reconciler; each has its first pass at once. */
export function startReconcilers(
  reconcilers: readonly Reconciler[],
  context: { readonly clock: Clock; readonly random: Random; readonly log: Log; readonly view: Pick<View, 'onChange'> },
): Reconcilers {
  const { clock, random } = context;
  const startOne = (reconciler: Reconciler): Running => {
    const log = context.log.child({ reconciler: reconciler.name });
    let conflicts = 0;
    let errors = 0;
    const failed = (error: unknown): number => {
      if (isFailure(error, 'conflict')) {
        conflicts += 1;
        log.debug({ conflicts, detail: error.message }, 'somebody else changed the records meanwhile; runs again');
        return backoffMs(conflicts - 1, CONFLICT_RETRY, random);
      }
      running.lastError = messageOf(error);
      errors += 1;
      const delayMs = backoffMs(errors - 1, ERROR_RETRY, random);
      // Powers of two only, so that a lasting fault does not fill the log.
      if ((errors & (errors - 1)) === 0) log.error({ error, failuresInARow: errors, nextTryMs: delayMs }, 'pass failed');
      return delayMs;
    };
    const loop = startLoop({
      clock,
      everyMs: reconciler.everyMs,
      onError: (error) => log.error({ error }, 'loop failed'),
      run: async (signal) => {
        try {
          const next = await reconciler.run(signal);
          conflicts = 0;
          errors = 0;
          running.lastError = null;
          return next;
        } catch (error) {
          if (signal.aborted) return undefined;
          return failed(error);
        }
      },
    });
    const running: Running = { reconciler, loop, lastError: null };
    return running;
  };

  const all = reconcilers.map(startOne);
  const unsubscribe = context.view.onChange((changed) => {
    for (const { reconciler, loop } of all) if (reconciler.wakeOn.some((collection) => changed.has(collection))) loop.wake();
  });
  return {
    statuses: () => all.map(({ reconciler, loop, lastError }) => ({ ...loop.status(), name: reconciler.name, lastError })),
    wake: (name) => {
      for (const { reconciler, loop } of all) if (name === undefined || name === reconciler.name) loop.wake();
    },
    settled: async () => {
      await Promise.all(all.map(({ loop }) => loop.settled()));
    },
    stop: async () => {
      unsubscribe();
      await Promise.all(all.map(({ loop }) => loop.stop()));
    },
  };
}
