// What is remembered of a call that has ended: its numbers by caller and Service, from which the graph of who calls whom is made, and its
// line in the log.

import type { Clock } from '../lib/clock.ts';
import type { Identity } from '../dataplane/identity.ts';
import { createRequestMetrics } from '../dataplane/request-metrics.ts';
import type { RequestMetrics } from '../dataplane/request-metrics.ts';
import { serviceText } from '../model/service-policy.ts';
import type { ServiceName } from '../model/service-policy.ts';
import { accessLine, labelPart, refusalLine } from '../proxy/access-log.ts';
import type { AccessLog } from '../proxy/access-log.ts';
import type { Exchange, ExchangeResult } from '../proxy/exchange.ts';
import type { Caller } from './callers.ts';

export interface EndedCall {
  readonly exchange: Exchange;
  readonly identity: Identity;
  /** null: nobody knows. */
  readonly caller: Caller | null;
  readonly service: ServiceName | null;
  /** Of the provider; null: it was not found. */
  readonly environment: string | null;
  readonly result: ExchangeResult;
  readonly status: number | null;
  /** Why it did not go well; null where it did. */
  readonly reason: string | null;
  readonly atMs: number;
  readonly durationMs: number;
}

export interface CallRecorder {
  record(call: EndedCall): void;
  /** A message that was no request, or a connection that could not be taken. */
  refuse(status: number, why: string, address: string): void;
  readonly metrics: RequestMetrics;
}

const LABELS = ['caller', 'caller_environment', 'service', 'environment', 'version'] as const;

export function createCallRecorder({ clock, accessLog }: { readonly clock: Clock; readonly accessLog: AccessLog }): CallRecorder {
  const metrics = createRequestMetrics('libra_apiproxy', LABELS);
  return {
    metrics,
    refuse: (status, why, address) => {
      metrics.refused(status);
      accessLog.write(refusalLine(clock.now(), status, why, address));
    },
    record: ({ exchange, identity, caller, service, environment, result, status, reason, atMs, durationMs }) => {
      const { facts } = exchange;
      const known = caller !== null && service !== null && environment !== null;
      const handle = known
        ? metrics.handle({
            caller: caller.app,
            caller_environment: caller.environment,
            service: serviceText(service),
            environment,
            version: facts.target?.version ?? '',
          })
        : metrics.noRoute;
      const answeredMs = result.type === 'upgraded' ? (facts.firstByteMs ?? durationMs) : durationMs;
      const failed =
        result.type === 'cut' ||
        (result.type === 'failed' && result.reason !== 'client_timeout') ||
        (result.type === 'no_target' && result.reason === 'refused');
      handle.observe(status, answeredMs, facts.firstByteMs, facts.attempts, failed, facts.bytesIn, facts.bytesOut);
      accessLog.write(
        accessLine({
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
          labels: labelPart({
            ...(caller === null
              ? {}
              : { caller: `${caller.app}/${caller.environment}/${caller.entrypoint}`, callerInstance: caller.instanceId }),
            ...(service === null ? {} : { service: serviceText(service) }),
            ...(environment === null ? {} : { environment }),
          }),
        }),
      );
    },
  };
}
