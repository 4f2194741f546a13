// Measures in a loop of its own, beside the heartbeats, which shall not wait for it: the newest goes with the next report, all of it
// into the history.

import type { AgentReport } from '../api/agent.ts';
import { NODE_AS_WHOLE } from '../api/agent.ts';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/failure.ts';
import { startLoop } from '../lib/loop.ts';
import type { Log } from '../sys/log.ts';
import { readMachineCounters } from '../sys/machine-counters.ts';
import type { Instances } from './instances.ts';
import { createUsageHistories } from './usage-history.ts';
import type { UsageHistories } from './usage-history.ts';
import { createMachineMeter, createUsageMeter } from './usage.ts';

const MEASURE_EVERY_MS = 5000;

export interface Meter {
  /** What was measured since this was asked before. */
  newest(): Pick<AgentReport, 'usage' | 'nodeUsage'>;
  readonly history: Pick<UsageHistories, 'read'>;
  stop(): Promise<void>;
}

export interface MeterOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly instances: Pick<Instances, 'all'>;
  /** Its file system is the one that is measured. */
  readonly dataFolder: string;
  /** Exists. */
  readonly historyFolder: string;
}

export function startMeter({ clock, log, instances, dataFolder, historyFolder }: MeterOptions): Meter {
  const history = createUsageHistories(historyFolder, clock);
  const measureMachine = createMachineMeter({ clock, read: () => readMachineCounters(dataFolder) });
  const measure = createUsageMeter({
    clock,
    running: () =>
      instances.all().flatMap((supervisor) => {
        const running = supervisor.running();
        return running === null ? [] : [[supervisor.state().id, running] as const];
      }),
  });
  let newest: Pick<AgentReport, 'usage' | 'nodeUsage'> = {};
  const loop = startLoop({
    clock,
    everyMs: MEASURE_EVERY_MS,
    onError: (error) => log.warn({ error: messageOf(error) }, 'what Instances take could not be measured or kept'),
    run: async () => {
      const [measured, nodeUsage] = [await measure(), await measureMachine()];
      newest = { usage: measured.map(({ usage }) => usage), nodeUsage };
      await history.add([
        ...measured.map(({ usage, attempt }) => ({ id: usage.id, attempt, usage })),
        { id: NODE_AS_WHOLE, attempt: '', usage: nodeUsage },
      ]);
    },
  });
  return {
    newest: () => {
      const told = newest;
      newest = {};
      return told;
    },
    history,
    stop: () => loop.stop(),
  };
}
