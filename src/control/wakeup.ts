// A one-place signal between something that changes and a stream that writes. Any number of wakes while nobody waits are one, so a
// slow reader costs no memory.

import type { Clock } from '../lib/clock.ts';

export interface Wakeup {
  wake(): void;
  /** Resolves true at a wake (at once when one is pending), false after `ms` or when the signal aborts. One waiter at a time. */
  wait(ms: number, signal: AbortSignal): Promise<boolean>;
}

export function createWakeup(clock: Clock): Wakeup {
  let pending = false;
  let resolveWaiter: ((woken: boolean) => void) | null = null;
  return {
    wake: () => {
      pending = true;
      resolveWaiter?.(true);
    },
    wait: (ms, signal) =>
      new Promise((resolve) => {
        const finish = (woken: boolean): void => {
          resolveWaiter = null;
          cancel();
          signal.removeEventListener('abort', onAbort);
          if (woken) pending = false;
          resolve(woken);
        };
        const onAbort = (): void => finish(false);
        const cancel = clock.timer(ms, () => finish(false));
        resolveWaiter = finish;
        signal.addEventListener('abort', onAbort, { once: true });
        if (signal.aborted) finish(false);
        else if (pending) finish(true);
      }),
  };
}
