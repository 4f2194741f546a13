// Who waits for a lock, in the order in which they came. The first one tries; the others sleep until it is their turn.

import type { Clock } from '../../lib/clock.ts';
import { Failure } from '../../lib/failure.ts';
import { createWakeup } from '../wakeup.ts';
import type { Wakeup } from '../wakeup.ts';
import type { Place } from './place.ts';

export interface LockQueues {
  /** What `attempt` gives once it is this one's turn; null after `waitMs`, or where the caller has gone. Throws what `attempt` throws. */
  wait<T>(
    who: { readonly id: string; readonly place: Place; readonly waitMs: number; readonly signal: AbortSignal },
    attempt: () => Promise<T | null>,
  ): Promise<T | null>;
  /** The lock is free. */
  wake(id: string): void;
  /** Throws this at all who wait, and at whoever comes. */
  stop(why: Failure): void;
}

const WAITERS = 1_000;

export function createLockQueues(clock: Clock): LockQueues {
  const queues = new Map<string, Wakeup[]>();
  const waiting = new Map<string, number>();
  let stopped: Failure | null = null;

  return {
    wait: async ({ id, place: { environmentId }, waitMs, signal }, attempt) => {
      const count = waiting.get(environmentId) ?? 0;
      if (count >= WAITERS)
        throw new Failure('rate_limited', {
          message: `${count} calls of this Environment wait for locks already.`,
          hint: 'Wait in fewer Instances.',
        });
      const queue = queues.get(id) ?? [];
      queues.set(id, queue);
      waiting.set(environmentId, count + 1);
      const turn = createWakeup(clock);
      queue.push(turn);
      const endMs = clock.monotonic() + waitMs;
      try {
        for (;;) {
          if (stopped !== null) throw stopped;
          if (queue[0] === turn) {
            const got = await attempt();
            if (got !== null) return got;
          }
          const leftMs = endMs - clock.monotonic();
          if (leftMs <= 0 || signal.aborted) return null;
          await turn.wait(leftMs, signal);
        }
      } finally {
        const wasFirst = queue[0] === turn;
        queue.splice(queue.indexOf(turn), 1);
        if (queue.length === 0) queues.delete(id);
        else if (wasFirst) queue[0]?.wake();
        if (count === 0 && waiting.get(environmentId) === 1) waiting.delete(environmentId);
        else waiting.set(environmentId, (waiting.get(environmentId) ?? 1) - 1);
      }
    },
    wake: (id) => queues.get(id)?.[0]?.wake(),
    stop: (why) => {
      stopped = why;
      for (const queue of queues.values()) for (const turn of queue) turn.wake();
    },
  };
}
