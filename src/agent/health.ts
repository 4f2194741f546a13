// Decides from a row of probes whether an Instance is healthy: thresholds, grace, and a rhythm that is quick while it starts and calm
// afterwards. Only monotonic time counts, so a jump of the wall clock changes nothing.

import type { Clock } from '../lib/clock.ts';
import type { Random } from '../lib/id.ts';
import type { Health } from '../model/manifest-types.ts';
import type { ProbeFailure } from '../model/diagnosis.ts';
import type { ProbeResult } from './probes.ts';

/** First wait while it starts; grows by half with every probe up to the interval, milliseconds. */
const FIRST_POLL_MS = 100;
const POLL_GROWTH = 1.5;
/** While it starts, people are told what is wrong from here on, milliseconds. */
const TELL_AFTER_MS = 1500;

export interface Judgement {
  readonly healthy: boolean;
  /** It was healthy at least once. */
  readonly ready: boolean;
  readonly successes: number;
  readonly failures: number;
}

export const NEW_JUDGEMENT: Judgement = { healthy: false, ready: false, successes: 0, failures: 0 };

/** One probe more. Failures within the grace time do not count against an Instance. Pure. */
export function judge(before: Judgement, ok: boolean, health: Health, elapsedMs: number): Judgement {
  if (ok) {
    const successes = before.successes + 1;
    const healthy = before.healthy || successes >= health.healthy;
    return { healthy, ready: before.ready || healthy, successes, failures: 0 };
  }
  const failures = elapsedMs < health.graceMs ? 0 : before.failures + 1;
  return { healthy: before.healthy && failures < health.unhealthy, ready: before.ready, successes: 0, failures };
}

export interface HealthCheckOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly health: Health;
  /** Monotonic time of the start. */
  readonly startedAt: number;
  /** Where it stands already: after a restart of the agent a healthy Instance stays healthy until checks say otherwise. */
  readonly initial: Judgement;
  /** Never rejects; ends soon after an abort. */
  readonly probe: (timeoutMs: number, signal: AbortSignal) => Promise<ProbeResult>;
  readonly onHealthy: () => void;
  /** Newly unhealthy, or still not healthy with a cause worth telling. */
  readonly onUnhealthy: (failure: ProbeFailure) => void;
}

export interface HealthCheck {
  stop(): Promise<void>;
}

export function startHealthCheck(options: HealthCheckOptions): HealthCheck {
  const { clock, health } = options;
  const stopping = new AbortController();

  const settle = async (settleMs: number): Promise<void> => {
    await clock.sleep(Math.max(0, settleMs - (clock.monotonic() - options.startedAt)), stopping.signal);
    if (!options.initial.healthy) options.onHealthy();
  };

  const watch = async (): Promise<void> => {
    let judgement = options.initial;
    let pollMs = Math.min(FIRST_POLL_MS, health.intervalMs);
    while (!stopping.signal.aborted) {
      const result = await options.probe(health.timeoutMs, stopping.signal);
      if (stopping.signal.aborted) return;
      const elapsedMs = clock.monotonic() - options.startedAt;
      const before = judgement;
      judgement = judge(before, result === null, health, elapsedMs);
      if (judgement.healthy && !before.healthy) options.onHealthy();
      if (result !== null && !judgement.healthy && (before.healthy || elapsedMs >= TELL_AFTER_MS)) options.onUnhealthy(result);
      await clock.sleep(judgement.ready ? withJitter(health.intervalMs, options.random) : pollMs, stopping.signal);
      pollMs = Math.min(health.intervalMs, pollMs * POLL_GROWTH);
    }
  };

  const running = (health.probe.kind === 'running' ? settle(health.probe.settleMs) : watch()).catch((error: unknown) => {
    if (!stopping.signal.aborted) throw error;
  });
  return {
    stop: async () => {
      stopping.abort(new Error('stopped'));
      await running;
    },
  };
}

/** Plus or minus a tenth, so that checks of many Instances spread out. */
function withJitter(ms: number, random: Random): number {
  return Math.round(ms * (0.9 + ((random.bytes(1)[0] ?? 0) / 255) * 0.2));
}
