// What the Instances of this Node take, measured now and then; a short-lived number, so nothing of it is kept.

import { setImmediate } from 'node:timers/promises';
import type { InstanceUsage } from '../api/agent.ts';
import type { Clock } from '../lib/clock.ts';
import type { Supervisor } from './supervisor.ts';

/** Measured in one go: where there are no cgroups, each takes a walk through the processes of the machine. */
const AT_ONCE = 8;

interface Sample {
  readonly key: string;
  readonly atMs: number;
  readonly cpuSeconds: number;
}

export function createUsageMeter(deps: {
  readonly clock: Clock;
  readonly running: () => readonly (readonly [id: string, running: NonNullable<ReturnType<Supervisor['running']>>])[];
}): () => Promise<readonly InstanceUsage[]> {
  let before = new Map<string, Sample>();
  return async () => {
    const usage: InstanceUsage[] = [];
    const samples = new Map<string, Sample>();
    for (const [index, [id, { driver, handle, run }]] of deps.running().entries()) {
      if (index % AT_ONCE === AT_ONCE - 1) await setImmediate();
      // It may have ended in this moment: then there is nothing to tell.
      const taken = await driver.usage?.(handle).catch(() => undefined);
      if (taken === undefined) continue;
      const atMs = deps.clock.monotonic();
      const last = before.get(id);
      const isSame = last !== undefined && last.key === run.key && atMs > last.atMs && taken.cpuSeconds >= last.cpuSeconds;
      usage.push({ id, ...taken, cpu: isSame ? ((taken.cpuSeconds - last.cpuSeconds) * 1000) / (atMs - last.atMs) : null });
      samples.set(id, { key: run.key, atMs, cpuSeconds: taken.cpuSeconds });
    }
    before = samples;
    return usage;
  };
}
