// Tells control what changed: soon after it changed, all of it after a reconnect, and a heartbeat in between. What is not acknowledged
// is told again; only the newest state of an Instance counts, so nothing piles up.

import type { AgentReport } from '../api/agent.ts';
import { backoffMs } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/failure.ts';
import type { Random } from '../lib/id.ts';
import type { InstanceStatus } from '../model/documents.ts';
import type { Log } from '../sys/log.ts';
import type { AgentLink } from './link.ts';

const COALESCE_MS = 50;
const HEARTBEAT_MS = 5000;
const DEADLINE_MS = 10_000;
const RETRY = { minMs: 200, maxMs: 5000 };
/** Statuses in one report: with 20 lines of 500 characters each well below the body limit of the endpoint. */
const BATCH = 200;

export interface ReporterOptions {
  readonly link: Pick<AgentLink, 'report'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** What is told about the Node with every report. */
  readonly node: Omit<AgentReport, 'instances' | 'usage' | 'forwarding'>;
  /** What was measured since the report before. */
  readonly measured: () => Pick<AgentReport, 'usage' | 'forwarding'>;
  /** The status now; undefined where the Instance is gone. */
  readonly status: (id: string) => InstanceStatus | undefined;
  readonly ids: () => readonly string[];
}

export interface Reporter {
  changed(id: string): void;
  /** After a (re)connect: control shall hear all. */
  all(): void;
  /** One last try to tell what is left, bounded by `timeoutMs`. */
  stop(timeoutMs: number): Promise<void>;
}

export function startReporter(options: ReporterOptions): Reporter {
  const { clock } = options;
  const stopping = new AbortController();
  const pending = new Set<string>();
  let wake = (): void => undefined;

  const send = async (signal: AbortSignal): Promise<void> => {
    const ids = [...pending].slice(0, BATCH);
    const instances = ids.flatMap((id) => options.status(id) ?? []);
    for (const id of ids) pending.delete(id);
    try {
      await options.link.report(
        { ...options.node, instances, ...options.measured() },
        AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]),
      );
    } catch (error) {
      for (const id of ids) pending.add(id);
      throw error;
    }
  };

  /** Waits for a change, at most until the heartbeat is due. */
  const waitForChange = async (ms: number): Promise<void> => {
    if (pending.size > 0 || stopping.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const cancel = clock.timer(ms, resolve);
      wake = () => {
        cancel();
        resolve();
      };
    });
    wake = () => undefined;
  };

  const drive = async (): Promise<void> => {
    let failures = 0;
    while (!stopping.signal.aborted) {
      try {
        const sentAt = clock.monotonic();
        await send(stopping.signal);
        failures = 0;
        await waitForChange(HEARTBEAT_MS);
        // A change after a quiet time is told at once, a burst as one.
        await clock.sleep(Math.max(0, COALESCE_MS - (clock.monotonic() - sentAt)), stopping.signal);
      } catch (error) {
        if (stopping.signal.aborted) return;
        if (failures === 0) options.log.warn({ error: messageOf(error) }, 'control does not take the report; trying on');
        await clock.sleep(backoffMs(failures, RETRY, options.random), stopping.signal).catch(() => undefined);
        failures += 1;
      }
    }
  };

  const running = drive();
  return {
    changed: (id) => {
      pending.add(id);
      wake();
    },
    all: () => {
      for (const id of options.ids()) pending.add(id);
      wake();
    },
    stop: async (timeoutMs) => {
      stopping.abort(new Error('the agent stops'));
      wake();
      await running;
      const deadline = AbortSignal.timeout(timeoutMs);
      while (pending.size > 0 && !deadline.aborted) {
        await send(deadline).catch((error: unknown) => {
          options.log.warn({ error: messageOf(error) }, 'the last changes were not told; they will be at the next start');
          pending.clear();
        });
      }
    },
  };
}
