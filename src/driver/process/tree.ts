// Everything that an attempt started, children that changed session and parent included: by cgroup where there is one, else by the
// marker in their environment. Ends all of it, politely first.

import type { Clock } from '../../lib/clock.ts';
import { Failure } from '../../lib/failure.ts';
import { cgroupPids, killCgroup } from '../../sys/cgroup.ts';
import { pidsWithEnvironEntry } from '../../sys/process-identity.ts';
import type { ProcessHandle } from './handle.ts';

const POLL_MS = 20;
/** Longest that descendants get after the program itself has ended, of what is left of the time to stop. */
const DESCENDANTS_MS = 1000;
/** Processes in an uninterruptible sleep can outlive SIGKILL for a while. */
const KILL_DEADLINE_MS = 15_000;

type Tree = Pick<ProcessHandle, 'cgroups' | 'marker' | 'key'>;

/** Living processes of the attempt. */
export function treePids(tree: Tree): number[] {
  return tree.cgroups.length > 0 ? cgroupPids(tree.cgroups) : pidsWithEnvironEntry(tree.marker);
}

function signalAll(pids: readonly number[], signal: string): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // It ended before.
    }
  }
}

/** Kills until nothing is left. Rejects with `timeout` when something survives SIGKILL for 15 s. */
export async function killTree(tree: Tree, clock: Clock): Promise<void> {
  const until = clock.monotonic() + KILL_DEADLINE_MS;
  for (;;) {
    const pids = treePids(tree);
    if (pids.length === 0) return;
    if (clock.monotonic() > until) {
      throw new Failure('timeout', {
        message: `Processes of ${tree.key} are still there after SIGKILL: ${pids.slice(0, 10).join(', ')}.`,
        hint: 'They are stuck in the kernel, most often on a disk or network file system that does not answer.',
        details: { pids: pids.slice(0, 100) },
      });
    }
    if (!killCgroup(tree.cgroups)) signalAll(pids, 'SIGKILL');
    await clock.sleep(POLL_MS);
  }
}

/** Ends what the program left behind: `signal`, at most `timeoutMs`, then SIGKILL. Resolves when nothing is left. */
export async function endDescendants(tree: Tree, signal: string, timeoutMs: number, clock: Clock): Promise<void> {
  const until = clock.monotonic() + Math.min(timeoutMs, DESCENDANTS_MS);
  let pids = treePids(tree);
  signalAll(pids, signal);
  while (pids.length > 0 && clock.monotonic() < until) {
    await clock.sleep(POLL_MS);
    pids = treePids(tree);
  }
  await killTree(tree, clock);
}
