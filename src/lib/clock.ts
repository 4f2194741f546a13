// Time as a dependency, so that everything that waits can be tested without waiting. The only place that reads the real clock.

export interface Clock {
  /** Wall-clock time: UTC milliseconds since 1970. May jump. */
  now(): number;
  /** Milliseconds since an arbitrary start; never goes back. Use it for durations and deadlines. */
  monotonic(): number;
  /** Resolves after `ms` milliseconds of monotonic time; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls back once after `ms`; the returned function cancels. Never keeps a process alive by itself. */
  timer(ms: number, callback: () => void): () => void;
}

const MAX_TIMEOUT_MS = 2 ** 31 - 1;

function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(signal.reason);
      return;
    }
    const onAbort = (): void => {
      clearTimeout(handle);
      reject(signal?.reason);
    };
    const handle = setTimeout(
      () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      },
      Math.min(ms, MAX_TIMEOUT_MS),
    );
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** The global is looked for anew each time that it is named, and this one is read several times for every request. */
const stopwatch = performance;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => stopwatch.now(),
  sleep: wait,
  timer: (ms, callback) => {
    const handle: unknown = setTimeout(callback, Math.min(ms, MAX_TIMEOUT_MS));
    if (typeof handle === 'object' && handle !== null && 'unref' in handle && typeof handle.unref === 'function') handle.unref();
    return () => {
      clearTimeout(handle as ReturnType<typeof setTimeout>); // the value setTimeout gave, whatever the platform's type
    };
  },
};

export interface FakeClock extends Clock {
  /** Moves wall and monotonic time on, running due timers in order and letting promises settle between them. */
  advance(ms: number): Promise<void>;
  /** Makes the wall clock jump without moving monotonic time. */
  jump(ms: number): void;
}

/** A clock that stands still until told; shipped as product code so that every folder can test with it. */
export function createFakeClock(startMs = Date.UTC(2026, 0, 1)): FakeClock {
  let elapsed = 0;
  let offset = startMs;
  let sequence = 0;
  const timers = new Map<number, { dueMs: number; run: () => void }>();
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  };
  const timer = (ms: number, run: () => void): (() => void) => {
    sequence += 1;
    const key = sequence;
    timers.set(key, { dueMs: elapsed + Math.max(0, ms), run });
    return () => {
      timers.delete(key);
    };
  };
  return {
    now: () => offset + elapsed,
    monotonic: () => elapsed,
    timer,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted === true) {
          reject(signal.reason);
          return;
        }
        const cancel = timer(ms, () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        });
        const onAbort = (): void => {
          cancel();
          reject(signal?.reason);
        };
        signal?.addEventListener('abort', onAbort, { once: true });
      }),
    jump: (ms) => {
      offset += ms;
    },
    advance: async (ms) => {
      const target = elapsed + ms;
      await settle();
      for (;;) {
        const due = [...timers.entries()]
          .filter(([, entry]) => entry.dueMs <= target)
          .sort((a, b) => a[1].dueMs - b[1].dueMs || a[0] - b[0])[0];
        if (due === undefined) break;
        timers.delete(due[0]);
        elapsed = Math.max(elapsed, due[1].dueMs);
        due[1].run();
        await settle();
      }
      elapsed = target;
      await settle();
    },
  };
}
