// Follows control's route table for as long as the Edge lives, and tells control what is in force. Control may be away for any time:
// the last table stays, and each new connection begins with a snapshot.

import type { EdgeReport, TableMessage, Tap } from '../api/dataplane.ts';
import { backoffMs } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/failure.ts';
import { systemRandom } from '../lib/id.ts';
import { startLoop } from '../lib/loop.ts';
import type { Loop } from '../lib/loop.ts';
import type { Log } from '../sys/log.ts';
import type { EdgeLink } from './link.ts';

export interface SyncOptions {
  readonly link: EdgeLink;
  readonly clock: Clock;
  readonly log: Log;
  /** False: the message leaves a gap. */
  readonly apply: (message: TableMessage) => Promise<boolean>;
  readonly report: () => EdgeReport | null;
  /** Who watches requests; nobody at the beginning of a connection. */
  readonly onTaps: (taps: readonly Tap[]) => void;
  /** Keeps the table in force on disk. */
  readonly save: () => Promise<void>;
}

export interface Sync {
  /** Reports soon; for changes that control waits for. */
  reportSoon(): void;
  connected(): boolean;
  /** Resolves when the first table of control is in force, or control was found to be away. */
  readonly begun: Promise<void>;
  stop(): Promise<void>;
}

const RECONNECT = { minMs: 50, maxMs: 2_000 } as const;
/** Control pings every three seconds. */
const SILENCE_MS = 12_000;
const REPORT_WHILE_DRAINING_MS = 2_000;
/** Two versions are compared by what is reported. */
const REPORT_WHILE_SPLIT_MS = 1_000;
const REPORT_EVERY_MS = 15_000;
const REPORT_AGAIN_MS = 500;

export function startSync(options: SyncOptions): Sync {
  const { link, clock, log } = options;
  const stopping = new AbortController();
  let connected = false;
  const begun = Promise.withResolvers<void>();

  const reporter: Loop = startLoop({
    clock,
    everyMs: REPORT_EVERY_MS,
    errorDelayMs: REPORT_AGAIN_MS,
    onError: (error) => log.debug({ error }, 'report to control failed'),
    run: async (signal) => {
      const report = options.report();
      // Without a connection there is nobody to tell; the next message of control wakes this loop again.
      if (report === null || !connected) return REPORT_EVERY_MS;
      await link.report(report, signal);
      if (report.versions !== undefined) return REPORT_WHILE_SPLIT_MS;
      return Object.keys(report.draining).length > 0 ? REPORT_WHILE_DRAINING_MS : REPORT_EVERY_MS;
    },
  });
  const saver: Loop = startLoop({
    clock,
    everyMs: 24 * 3_600_000,
    errorDelayMs: 10_000,
    onError: (error) => log.warn({ error }, 'route table cannot be kept on disk'),
    run: () => options.save(),
  });

  /** Ends with its connection, which is dead where nothing comes although control pings. */
  const follow = async (): Promise<void> => {
    const connection = new AbortController();
    const signal = AbortSignal.any([stopping.signal, connection.signal]);
    let cancelSilence = (): void => undefined;
    const listen = (): void => {
      cancelSilence();
      cancelSilence = clock.timer(SILENCE_MS, () => connection.abort(new Error(`nothing came for ${SILENCE_MS / 1000} s`)));
    };
    listen();
    try {
      await takeAll(signal, listen);
    } finally {
      cancelSilence();
      connection.abort(new Error('the connection is over'));
    }
  };
  const takeAll = async (signal: AbortSignal, heard: () => void): Promise<void> => {
    for await (const message of link.sync(signal)) {
      heard();
      const first = !connected;
      connected = true;
      if (first) {
        log.info({ type: message.type }, 'connected to control');
        options.onTaps([]);
      }
      if (message.type === 'taps') {
        options.onTaps(message.taps);
        continue;
      }
      if (!(await options.apply(message))) {
        log.warn({ type: message.type }, 'route table message leaves a gap; asking for a snapshot');
        return;
      }
      begun.resolve();
      if (message.type !== 'ping') saver.wake();
      if (first || message.type !== 'ping') reporter.wake();
    }
  };
  const run = async (): Promise<void> => {
    let attempt = 0;
    while (!stopping.signal.aborted) {
      try {
        await follow();
      } catch (error) {
        if (stopping.signal.aborted) return;
        if (connected) log.warn({ error }, `connection to control is lost: ${messageOf(error)}; serving on from the last table`);
      }
      attempt = connected ? 0 : attempt + 1;
      connected = false;
      begun.resolve();
      await clock.sleep(backoffMs(attempt, RECONNECT, systemRandom), stopping.signal).catch(() => undefined);
    }
  };
  const running = run();

  return {
    reportSoon: () => reporter.wake(),
    connected: () => connected,
    begun: begun.promise,
    stop: async () => {
      stopping.abort();
      await Promise.all([running, reporter.stop(), saver.stop()]);
    },
  };
}
