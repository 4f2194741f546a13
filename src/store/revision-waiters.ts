// Those who wait until a view holds a revision; bounded, and never left waiting when the view ends.

import { Failure } from '../lib/failure.ts';

const MAX_WAITERS = 10_000;

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export interface RevisionWaiters {
  wait(revision: number, signal?: AbortSignal): Promise<void>;
  /** Answers all who wait for this revision or an older one. */
  arrived(revision: number): void;
  /** Answers all with this error. */
  fail(error: unknown): void;
}

export function createRevisionWaiters(): RevisionWaiters {
  // In insertion order, which for commits is the order of revisions.
  const waiting = new Map<number, Set<Waiter>>();
  let count = 0;

  const take = (revision: number): readonly Waiter[] => {
    const waiters = [...(waiting.get(revision) ?? [])];
    waiting.delete(revision);
    count -= waiters.length;
    return waiters;
  };

  const wait = (revision: number, signal?: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      if (signal?.aborted === true) throw signal.reason;
      if (count >= MAX_WAITERS) {
        throw new Failure('rate_limited', { message: `${MAX_WAITERS} operations wait for the view of the store already.` });
      }
      const onAbort = (): void => {
        if (waiting.get(revision)?.delete(waiter) === true) count -= 1;
        reject(signal?.reason);
      };
      const waiter: Waiter = {
        resolve: () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
        reject: (error) => {
          signal?.removeEventListener('abort', onAbort);
          reject(error);
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      const waiters = waiting.get(revision);
      if (waiters === undefined) waiting.set(revision, new Set([waiter]));
      else waiters.add(waiter);
      count += 1;
    });

  return {
    wait,
    arrived: (revision) => {
      for (const wanted of waiting.keys()) {
        if (wanted <= revision) for (const waiter of take(wanted)) waiter.resolve();
      }
    },
    fail: (error) => {
      for (const wanted of waiting.keys()) for (const waiter of take(wanted)) waiter.reject(error);
    },
  };
}
