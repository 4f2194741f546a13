// What the API Proxy says itself: problem documents (RFC 9457), as programs read them.

import { Fields } from '../proxy/fields.ts';
import type { ExchangeResult } from '../proxy/exchange.ts';
import type { ClientStream } from '../proxy/message.ts';
import { serviceText } from '../model/service-policy.ts';
import type { Refusal, Way } from './pipeline.ts';

const TITLES: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  408: 'Request Timeout',
  429: 'Too Many Requests',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};

/** Answers with the refusal, whole. Gives its status. */
export function answerProblem(client: ClientStream, refusal: Refusal, requestId: string): number {
  const { status, code, detail, hint, retryAfterSeconds } = refusal;
  const body = Buffer.from(
    `${JSON.stringify({ type: 'about:blank', title: TITLES[status] ?? '', status, code, detail, hint, requestId })}\n`,
  );
  const fields = Fields.of('Content-Type', 'application/problem+json', 'Cache-Control', 'no-store', 'X-Request-Id', requestId);
  if (retryAfterSeconds !== undefined) fields.add('Retry-After', String(retryAfterSeconds));
  if (status === 401) fields.add('WWW-Authenticate', 'Bearer realm="libra"');
  // What is left of a body that stopped arriving would be taken for the next request.
  client.sendHead({ status, reason: '', fields, length: body.length }, status === 408);
  if (client.head.method !== 'HEAD') client.sendData(body);
  client.sendEnd(null);
  return status;
}

/** What the caller is told of a request that its Service did not answer; null: it has its answer, or is gone. */
export function refusalOf(result: ExchangeResult, way: Way): Refusal | null {
  const who = `${serviceText(way.service)} of ${way.service.app}/${way.environment}`;
  const refusal = (status: number, code: string, detail: string, hint: string): Refusal => ({ status, code, detail, hint });
  switch (result.type) {
    case 'answered':
    case 'upgraded':
    case 'cut':
    case 'client_gone':
      return null;
    case 'no_target':
      if (result.reason === 'busy') {
        return { ...refusal(503, 'busy', `${who} has as much open as it may.`, 'Try again later, or scale it.'), retryAfterSeconds: 1 };
      }
      if (result.reason === 'refused') {
        return { ...refusal(502, 'unreachable', `${who} takes no connection.`, 'Look at it: libra ps, libra logs.'), retryAfterSeconds: 1 };
      }
      return {
        ...refusal(503, 'unavailable', `${who} has no healthy Instance.`, 'Look at it: libra ps, libra logs.'),
        retryAfterSeconds: 1,
      };
    case 'failed':
      if (result.reason === 'client_timeout') return refusal(408, 'timeout', 'The request did not arrive whole in time.', 'Send it again.');
      if (result.reason === 'too_large') return refusal(413, 'too_large', 'The request is too large.', 'Send less.');
      if (result.reason === 'timeout') return refusal(504, 'timeout', `${who} did not answer in time.`, 'Look at it: libra logs.');
      return refusal(502, 'broken', `${who} broke off before it had answered.`, 'Look at it: libra logs.');
  }
}
