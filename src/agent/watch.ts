// Watches one running attempt: its end, its health, its deadline and its disk. Tells what it sees as events; decides nothing.

import { probeOnce } from './probes.ts';
import type { DesiredInstance } from '../api/agent.ts';
import type { Driver, DriverHandle, RunSpec, RunState } from '../driver/contract.ts';
import { backoffMs } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/failure.ts';
import type { Random } from '../lib/id.ts';
import { diagnose } from '../model/diagnosis.ts';
import type { ProbeFailure } from '../model/diagnosis.ts';
import { formatBytes } from '../model/quantity.ts';
import type { Log } from '../sys/log.ts';
import { overQuota } from './disk-quota.ts';
import { NEW_JUDGEMENT, startHealthCheck } from './health.ts';
import type { HealthCheck } from './health.ts';
import { runInside } from './hooks.ts';
import type { InstanceState } from './instance-state.ts';
import type { InstanceEvent } from './machine.ts';
import { endReason, lastLines, observed, reason } from './reasons.ts';
import type { Workspace } from './workspace.ts';

/** Soon after the start, then ever more rarely: a folder with many files is not walked all the time. */
const QUOTA_EVERY = { minMs: 2000, maxMs: 30_000 };
const RETRY = { minMs: 500, maxMs: 10_000 };

/** What a probe found that was answered by somebody else's program. */
const STRANGER: ProbeFailure = { kind: 'tcp', problem: 'refused' };

export interface WatchOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly workspace: Workspace;
  readonly driver: Driver;
  readonly handle: DriverHandle;
  /** True where this agent saw it start; else it runs since before. */
  readonly fresh: boolean;
  readonly current: () => InstanceState;
  readonly runSpec: () => RunSpec;
  readonly send: (event: InstanceEvent) => void;
}

export interface Watch {
  readonly attempt: number;
  /** Begins what needs the spec; idempotent. */
  inform(spec: DesiredInstance | null): void;
  stop(): Promise<void>;
}

export function startWatch(options: WatchOptions): Watch {
  const { clock, driver, handle, send } = options;
  const { attempt, id, host, port } = options.current();
  const startedAt = clock.monotonic();
  const stopping = new AbortController();
  const cancels: (() => void)[] = [];
  const running: Promise<void>[] = [];
  let health: HealthCheck | null = null;
  let spec: DesiredInstance | null = null;

  const watchEnd = async (): Promise<void> => {
    for (let tries = 0; !stopping.signal.aborted; tries += 1) {
      try {
        const end = await driver.wait(handle, stopping.signal);
        if (end.state !== 'running') return await tellEnd(end);
      } catch (error) {
        if (stopping.signal.aborted) return;
        options.log.warn({ error: messageOf(error) }, 'the driver lost sight of a program; looking again');
      }
      await clock.sleep(backoffMs(tries, RETRY, options.random), stopping.signal).catch(() => undefined);
    }
  };

  const tellEnd = async (end: RunState): Promise<void> => {
    const ranMs = options.fresh ? clock.monotonic() - startedAt : null;
    const lines = await lastLines(driver, options.workspace.logFolder(id), spec);
    const run = spec === null ? null : options.runSpec();
    const seen = end.state === 'exited';
    send({
      kind: 'ended',
      attempt,
      end: {
        seen,
        code: seen ? end.code : null,
        signal: seen ? end.signal : null,
        atMs: seen ? end.atMs : clock.now(),
        ranMs,
      },
      reason: endReason(options.current(), spec, run, end, lines),
    });
  };

  const tellUnhealthy = async (wanted: DesiredInstance, failure: ProbeFailure): Promise<void> => {
    const run = options.runSpec();
    const lines = await lastLines(driver, run.logFolder, wanted);
    const seen = await driver.diagnose?.(handle, run).catch(() => null);
    if (stopping.signal.aborted) return;
    const own = diagnose({ ...observed(wanted, run, lines), exit: null, probe: failure });
    // A command looks at more than the port: where that failed, the driver has nothing to add.
    const told = seen === null || seen === undefined || failure.kind === 'command';
    send({ kind: 'unhealthy', attempt, reason: told ? own : { ...own, ...seen } });
  };

  /** Something answers on the port, but it is not this program: traffic must never go there. */
  const answersForAnother = async (): Promise<boolean> => {
    if (port === null) return false;
    const seen = await driver.diagnose?.(handle, options.runSpec()).catch(() => null);
    return seen?.code === 'port_taken' || seen?.code === 'never_listened' || seen?.code === 'wrong_port' || seen?.code === 'wrong_address';
  };

  const checkHealth = (wanted: DesiredInstance): void => {
    const { readiness, healthy } = options.current();
    const ready = readiness === 'ready';
    health = startHealthCheck({
      clock,
      random: options.random,
      health: wanted.health,
      startedAt: ready ? Number.NEGATIVE_INFINITY : startedAt,
      initial: { ...NEW_JUDGEMENT, ready, healthy },
      probe: async (timeoutMs, signal) => {
        const result = await probeOnce(
          wanted.health.probe,
          { host: host ?? '127.0.0.1', port, exec: (argv, abort) => runInside(driver, handle, options.runSpec(), argv, abort) },
          timeoutMs,
          signal,
        );
        return result === null && !options.current().healthy && (await answersForAnother()) ? STRANGER : result;
      },
      onHealthy: () => send({ kind: 'healthy', attempt, atMs: clock.now() }),
      onUnhealthy: (failure) =>
        running.push(
          tellUnhealthy(wanted, failure).catch((error: unknown) => options.log.warn({ error: messageOf(error) }, 'no diagnosis')),
        ),
    });
  };

  const watchDeadline = (timeoutMs: number): void => {
    const over = (): void => {
      const message = `It did not end within ${Math.round(timeoutMs / 1000)} s and was stopped.`;
      send({ kind: 'broken', attempt, final: true, reason: reason(id, 'deadline', message) });
    };
    cancels.push(clock.timer(timeoutMs, over));
  };

  const watchDisk = async (wanted: DesiredInstance): Promise<void> => {
    for (let rounds = 0; !stopping.signal.aborted; rounds += 1) {
      const found = await overQuota(options.workspace.quotas(wanted), stopping.signal);
      const written = found ?? overLimit(wanted, (await driver.writtenBytes?.(handle)) ?? 0);
      if (written !== null)
        return send({ kind: 'broken', attempt, final: true, reason: reason(id, 'disk_quota', written, 'Write less, or raise the size.') });
      await clock.sleep(backoffMs(rounds, QUOTA_EVERY), stopping.signal);
    }
  };

  running.push(watchEnd());
  return {
    attempt,
    inform: (wanted) => {
      if (wanted === null || spec !== null || stopping.signal.aborted) return;
      spec = wanted;
      if (wanted.role === 'service') checkHealth(wanted);
      if (wanted.timeoutMs !== null) watchDeadline(wanted.timeoutMs);
      running.push(watchDisk(wanted).catch(() => undefined));
    },
    stop: async () => {
      stopping.abort(new Error('no longer watched'));
      for (const cancel of cancels) cancel();
      await health?.stop();
      await Promise.all(running);
    },
  };
}

/** What it wrote into the file system of its own container, in words where that is too much. */
function overLimit({ resources: { diskBytes } }: DesiredInstance, bytes: number): string | null {
  return diskBytes > 0 && bytes > diskBytes
    ? `It wrote ${formatBytes(bytes)} beside its volumes, of at most ${formatBytes(diskBytes)}.`
    : null;
}
