// What is remembered of a request that has ended: its numbers, its line in the access log, and the same line for whoever watches live.
// Handles and texts that belong to a Route are made once and kept beside its rule, so that a request adds and joins, and no more.

import type { RouteGroup, RouteRule } from '../api/dataplane.ts';
import type { Clock } from '../lib/clock.ts';
import { accessLine, labelPart, refusalLine } from '../proxy/access-log.ts';
import type { AccessLog } from '../proxy/access-log.ts';
import type { Exchange, ExchangeResult } from '../proxy/exchange.ts';
import type { Identity } from '../dataplane/identity.ts';
import type { MetricsHandle, RequestMetrics } from '../dataplane/request-metrics.ts';

export interface Ended {
  readonly exchange: Exchange;
  readonly identity: Identity;
  /** null: no Route was met. */
  readonly found: { readonly rule: RouteRule; readonly group: RouteGroup } | null;
  readonly result: ExchangeResult;
  readonly status: number | null;
  /** Why it did not go well; null where it did. */
  readonly reason: string | null;
  /** UTC milliseconds of its beginning. */
  readonly atMs: number;
  readonly durationMs: number;
}

export interface Recorder {
  record(ended: Ended): void;
  /** A message that was no request, or a connection that could not be taken. */
  refuse(status: number, why: string, address: string): void;
}

export interface RecorderDeps {
  readonly clock: Clock;
  readonly metrics: RequestMetrics;
  readonly accessLog: AccessLog;
  /** Gets the line of every request. */
  readonly watch: (line: string) => void;
}

/** Of one Route and one version that answered it. */
interface Kept {
  handle: MetricsHandle;
  readonly labels: string;
}

/** Lines of refusals in a second; whoever sends nothing else shall not push the requests out of the log. All of them are counted. */
const REFUSALS_PER_S = 20;

export function createRecorder({ metrics, accessLog, watch, clock }: RecorderDeps): Recorder {
  let refusalsSecond = 0;
  let refusals = 0;
  /** A table that comes into force brings new rules; the old ones go with what is kept for them. */
  const keptOf = new WeakMap<RouteRule, Map<string, Kept>>();

  const make = (rule: RouteRule, { app, environment, entrypoint }: RouteGroup, version: string): Kept => {
    const route = `${rule.host}${rule.path}`;
    return {
      handle: metrics.handle({ app, environment, entrypoint, route, version }),
      labels: labelPart({ route, app, environment, entrypoint, ...(version === '' ? {} : { deployment: version }) }),
    };
  };
  const kept = (rule: RouteRule, group: RouteGroup, version: string): Kept => {
    let versions = keptOf.get(rule);
    if (versions === undefined) {
      versions = new Map();
      keptOf.set(rule, versions);
    }
    let found = versions.get(version);
    if (found?.handle.live !== true) {
      found = make(rule, group, version);
      versions.set(version, found);
    }
    return found;
  };

  return {
    refuse: (status, why, address) => {
      metrics.refused(status);
      const atMs = clock.now();
      const second = Math.floor(atMs / 1_000);
      if (second !== refusalsSecond) refusals = 0;
      refusalsSecond = second;
      refusals += 1;
      if (refusals > REFUSALS_PER_S) return;
      const line = refusalLine(atMs, status, why, address);
      accessLog.write(line);
      watch(line);
    },
    record: ({ exchange, identity, found, result, status, reason, atMs, durationMs }) => {
      const { facts } = exchange;
      const of = found === null ? null : kept(found.rule, found.group, facts.target?.version ?? '');
      // How long a stream was open says nothing about how fast it was answered.
      const answeredMs = result.type === 'upgraded' ? (facts.firstByteMs ?? durationMs) : durationMs;
      (of?.handle ?? metrics.noRoute).observe(
        status,
        answeredMs,
        facts.firstByteMs,
        facts.attempts,
        isFailed(result),
        facts.bytesIn,
        facts.bytesOut,
      );
      const line = accessLine({
        atMs,
        durationMs,
        status,
        exchange,
        requestId: identity.requestId,
        client: identity.client.address,
        traceId: identity.trace.traceId,
        spanId: identity.trace.spanId,
        result: result.type,
        reason,
        labels: of?.labels ?? '',
      });
      accessLog.write(line);
      watch(line);
    },
  };
}

/** The target failed the request. */
function isFailed(result: ExchangeResult): boolean {
  if (result.type === 'failed') return result.reason !== 'client_timeout';
  return result.type === 'cut' || (result.type === 'no_target' && result.reason === 'refused');
}
