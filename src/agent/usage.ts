// What the Instances of this Node take, and the machine as a whole, measured now and then.

import { setImmediate } from 'node:timers/promises';
import type { InstanceUsage, NodeUsage } from '../api/agent.ts';
import type { Clock } from '../lib/clock.ts';
import type { MachineCounters } from '../sys/machine-counters.ts';
import type { Supervisor } from './supervisor.ts';

/** Measured in one go: where there are no cgroups, each takes a walk through the processes of the machine. */
const AT_ONCE = 8;

interface Sample {
  readonly key: string;
  readonly atMs: number;
  readonly usage: InstanceUsage;
}

export interface InstanceMeasurement {
  readonly usage: InstanceUsage;
  /** Counters of another one begin anew. */
  readonly attempt: string;
}

export function createUsageMeter(deps: {
  readonly clock: Clock;
  readonly running: () => readonly (readonly [id: string, running: NonNullable<ReturnType<Supervisor['running']>>])[];
}): () => Promise<readonly InstanceMeasurement[]> {
  let before = new Map<string, Sample>();
  return async () => {
    const measured: InstanceMeasurement[] = [];
    const samples = new Map<string, Sample>();
    for (const [index, [id, { driver, handle, run }]] of deps.running().entries()) {
      if (index % AT_ONCE === AT_ONCE - 1) await setImmediate();
      // It may have ended in this moment: then there is nothing to tell.
      const taken = await driver.usage?.(handle).catch(() => undefined);
      if (taken === undefined) continue;
      const atMs = deps.clock.monotonic();
      const last = before.get(id);
      const same = last !== undefined && last.key === run.key ? last : null;
      const usage: InstanceUsage = {
        id,
        ...taken,
        cpu: same === null ? null : rate(same.usage.cpuSeconds, taken.cpuSeconds, atMs - same.atMs),
        // Where processes are summed up, what one had counted goes with it.
        ...(taken.disk === undefined ? {} : { disk: atLeast(same?.usage.disk, taken.disk) }),
      };
      measured.push({ usage, attempt: run.key });
      samples.set(id, { key: run.key, atMs, usage });
    }
    before = samples;
    return measured;
  };
}

/** The same for the machine. */
export function createMachineMeter(deps: {
  readonly clock: Clock;
  readonly read: () => Promise<MachineCounters>;
}): () => Promise<NodeUsage> {
  let before: { readonly atMs: number; readonly cpuSeconds: number } | null = null;
  return async () => {
    const counters = await deps.read();
    const atMs = deps.clock.monotonic();
    const { cpuSeconds } = counters;
    const cpu = before === null || cpuSeconds === undefined ? null : rate(before.cpuSeconds, cpuSeconds, atMs - before.atMs);
    before = cpuSeconds === undefined ? null : { atMs, cpuSeconds };
    return { ...counters, cpu };
  };
}

/** Of a counter, per second; null where it went back, or no time has passed. */
export function rate(before: number, after: number, ms: number): number | null {
  return ms > 0 && after >= before ? ((after - before) * 1000) / ms : null;
}

function atLeast<T extends { readonly readBytes: number; readonly writtenBytes: number }>(before: T | undefined, now: T): T {
  if (before === undefined) return now;
  return {
    ...now,
    readBytes: Math.max(before.readBytes, now.readBytes),
    writtenBytes: Math.max(before.writtenBytes, now.writtenBytes),
  };
}
