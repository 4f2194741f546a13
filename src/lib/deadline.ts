// A deadline for work that takes no signal of its own.

import type { Clock } from './clock.ts';
import { Failure } from './failure.ts';

/** Rejects with `timeout` when the work has not ended after `ms`; what it answers later is dropped. */
export async function within<T>(clock: Clock, ms: number, what: string, work: Promise<T>): Promise<T> {
  const over = new AbortController();
  const deadline = clock.sleep(ms, over.signal).then(
    (): never => {
      throw new Failure('timeout', { message: `${what} did not end within ${Math.round(ms / 1000)} s.` });
    },
    (): Promise<never> => new Promise(() => undefined),
  );
  try {
    return await Promise.race([work, deadline]);
  } finally {
    over.abort(new Error('done'));
    work.catch(() => undefined);
  }
}
