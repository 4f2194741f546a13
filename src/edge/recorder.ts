// What is remembered of a request that has ended: its numbers, its line in the access log, and the same line for whoever watches live.
// Handles and texts that belong to a Route are made once and kept beside its rule, so that a request adds and joins, and no more.

import type { RouteGroup, RouteRule } from '../api/dataplane.ts';
import { accessLine, labelPart } from '../proxy/access-log.ts';
import type { AccessLog } from '../proxy/access-log.ts';
import type { Exchange, ExchangeResult } from '../proxy/exchange.ts';
import type { Identity } from './identity.ts';
import type { EdgeMetrics, MetricsHandle } from './metrics.ts';

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
}

export interface RecorderDeps {
  readonly metrics: EdgeMetrics;
  readonly accessLog: AccessLog;
  /** Gets the line of every request. */
  readonly watch: (line: string) => void;
}

/** Of one Route and one version that answered it. */
interface Kept {
  handle: MetricsHandle;
  readonly labels: string;
}

export function createRecorder({ metrics, accessLog, watch }: RecorderDeps): Recorder {
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
