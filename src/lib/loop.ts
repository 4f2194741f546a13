// A level-triggered loop: one run at a time, woken by a signal or a timer; wakes that arrive during a run cause exactly one more.

import type { Clock } from './clock.ts';

export interface LoopStatus {
  readonly runs: number;
  readonly lastStartedMs: number | null;
  readonly lastDurationMs: number | null;
  readonly lastError: string | null;
}

export interface Loop {
  /** Asks for a run soon; cheap, idempotent. */
  wake(): void;
  /** Resolves when every wake so far has been answered by a completed run. */
  settled(): Promise<void>;
  status(): LoopStatus;
  stop(): Promise<void>;
}

export interface LoopOptions {
  readonly clock: Clock;
  /** Runs at least this often even without a wake, milliseconds. */
  readonly everyMs: number;
  /** Wait this long after an error before the next run, milliseconds. */
  readonly errorDelayMs?: number;
  /** Called with what a run threw; the loop goes on. */
  readonly onError: (error: unknown) => void;
  /** One idempotent pass. May return when it wants to run again at the latest (milliseconds from now). */
  readonly run: (signal: AbortSignal) => Promise<number | void>;
}

export function startLoop(options: LoopOptions): Loop {
  const { clock } = options;
  const stopping = new AbortController();
  let pending = true;
  let running: Promise<void> | null = null;
  let cancelTimer: (() => void) | null = null;
  let runs = 0;
  let lastStartedMs: number | null = null;
  let lastDurationMs: number | null = null;
  let lastError: string | null = null;

  const pass = async (): Promise<number> => {
    pending = false;
    lastStartedMs = clock.now();
    const began = clock.monotonic();
    let nextMs = options.everyMs;
    try {
      const wanted = await options.run(stopping.signal);
      if (typeof wanted === 'number') nextMs = Math.min(nextMs, Math.max(0, wanted));
      lastError = null;
    } catch (error) {
      if (!stopping.signal.aborted) {
        lastError = error instanceof Error ? error.message : String(error);
        options.onError(error);
        nextMs = options.errorDelayMs ?? 1000;
      }
    }
    lastDurationMs = clock.monotonic() - began;
    runs += 1;
    return nextMs;
  };

  const drive = async (): Promise<void> => {
    let nextMs = 0;
    while (pending && !stopping.signal.aborted) nextMs = await pass();
    running = null;
    if (!stopping.signal.aborted) cancelTimer = clock.timer(nextMs, kick);
  };

  function kick(): void {
    if (stopping.signal.aborted) return;
    pending = true;
    if (running !== null) return;
    cancelTimer?.();
    cancelTimer = null;
    // A microtask later, so that a burst of wakes in one turn is one run.
    running = Promise.resolve().then(drive);
  }

  kick();
  return {
    wake: kick,
    settled: async () => {
      while (running !== null) await running;
    },
    status: () => ({ runs, lastStartedMs, lastDurationMs, lastError }),
    stop: async () => {
      stopping.abort(new Error('stopped'));
      cancelTimer?.();
      while (running !== null) await running;
    },
  };
}
