// Gives back what only the start of a process needed. V8 keeps it until the heap is full, which in an idle process is never: one full
// collection in the first quiet moment makes the platform about 13 MiB smaller (docs/decisions/0004-memory.md).

import { performance } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { Clock } from '../lib/clock.ts';

const LOOK_MS = 3000;
/** Share of time in which the event loop of a quiet process works. */
const QUIET = 0.05;

/** Collects once when the process has been quiet for a while. Never keeps the process alive. Returns the cancelling. */
export function settleMemory(
  clock: Clock,
  collect: () => void = collectEverything,
  utilization: () => number = createUtilization(),
): () => void {
  let cancel = clock.timer(LOOK_MS, look);
  function look(): void {
    if (utilization() < QUIET) collect();
    else cancel = clock.timer(LOOK_MS, look);
  }
  return () => cancel();
}

/** The share since the last call. */
function createUtilization(): () => number {
  let seen = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, seen);
    seen = now;
    return utilization;
  };
}

function collectEverything(): void {
  setFlagsFromString('--expose-gc');
  const gc: unknown = runInNewContext('gc');
  // "last resort" also drops compiled code that was needed once.
  if (typeof gc === 'function') gc({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}
