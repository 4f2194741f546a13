// A lock between processes that a kill −9 frees: SQLite's exclusive file lock, which the kernel drops with its holder.

import { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';

const RETRY_MS = 25;

/** Takes the lock on `path` (made where absent); rejects with `timeout` when it is not free within `deadlineMs`. */
export async function lockFile(
  path: string,
  options: { readonly clock: Clock; readonly deadlineMs: number },
): Promise<{ release(): void }> {
  const until = options.clock.monotonic() + options.deadlineMs;
  for (;;) {
    const database = new DatabaseSync(path);
    try {
      database.exec('pragma locking_mode = exclusive; begin exclusive');
      return { release: () => database.close() };
    } catch (error) {
      database.close();
      // 5: SQLITE_BUSY
      if (!(error instanceof Error && 'errcode' in error && error.errcode === 5)) throw error;
      if (options.clock.monotonic() >= until) {
        throw new Failure('timeout', { message: `The lock ${path} stayed taken for ${options.deadlineMs} ms.`, cause: error });
      }
      await options.clock.sleep(RETRY_MS);
    }
  }
}
