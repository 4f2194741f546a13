// One run of a one-off command, followed to its end: its output as it comes, and what became of it.

import { isFailure } from '../lib/failure.ts';
import type { Clock } from '../lib/clock.ts';
import type { ApiClient } from './api-client.ts';

export type Run = Awaited<ReturnType<ApiClient['instances']['get']>>;
type Line = Awaited<ReturnType<ApiClient['instances']['logs']>> extends AsyncIterable<infer One> ? One : never;

const FINAL: ReadonlySet<string> = new Set(['stopped', 'succeeded', 'failed', 'unknown', 'lost']);
/** So long its last output may be on its way when it has ended. */
const LAST_OUTPUT_MS = 2000;

export interface FollowRunOptions {
  readonly client: ApiClient;
  readonly params: { readonly app: string; readonly environment: string };
  readonly clock: Clock;
  /** When it aborts, the run is asked to stop. */
  readonly signal: AbortSignal;
  readonly pollMs: number;
  readonly onLine: (line: Line) => void;
}

/** Resolves with the run as it ended. */
export async function followRun(first: Run, { client, params, clock, signal, pollMs, onLine }: FollowRunOptions): Promise<Run> {
  const one = { ...params, instance: first.id };
  const read = new AbortController();
  const abort = (): void => read.abort();
  signal.addEventListener('abort', abort, { once: true });
  const printed = (async () => {
    try {
      const query = { instance: first.id, tail: 10_000, follow: true };
      for await (const line of client.instances.logs({ params, query, signal: read.signal })) onLine(line);
    } catch (error) {
      if (!read.signal.aborted && !isFailure(error, 'unavailable')) throw error;
    }
  })();
  // It is awaited below; until then a failure of it must not end the program.
  printed.catch(() => undefined);
  let run = first;
  try {
    while (!FINAL.has(run.phase)) {
      await clock.sleep(pollMs, signal);
      run = await client.instances.get({ params: one });
    }
  } catch (error) {
    if (signal.aborted && !FINAL.has(run.phase)) await client.instances.stop({ params: one });
    throw error;
  } finally {
    // The stream ends by itself when the Instance has ended.
    const cancel = clock.timer(FINAL.has(run.phase) ? LAST_OUTPUT_MS : 0, abort);
    await printed;
    cancel();
    signal.removeEventListener('abort', abort);
  }
  return run;
}
