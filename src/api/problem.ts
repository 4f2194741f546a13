// The error document of the API (RFC 9457), as the server writes and the client reads it. It carries public text only: the cause of an
// error stays in the log, under the request id.

import { FAILURE_CODES, Failure } from '../lib/failure.ts';
import type { FailureCode } from '../lib/failure.ts';

export const PROBLEM_TYPE = 'application/problem+json';

export interface Problem {
  /** Always `about:blank`: `code` tells problems apart. */
  readonly type: 'about:blank';
  readonly title: string;
  readonly status: number;
  readonly code: FailureCode;
  readonly detail: string;
  readonly hint?: string;
  readonly details?: Readonly<Record<string, unknown>>;
  readonly requestId: string;
}

/** Where HTTP has a more exact status than the code's own. */
const STATUS_TITLES: Readonly<Record<number, string>> = {
  405: 'The path exists, but not with this method.',
  415: 'The body is not of a type that this endpoint takes.',
  416: 'The range is outside of what there is.',
  426: 'This endpoint is reached by an upgrade to a WebSocket only.',
};

/** `status` replaces the code's own where HTTP has a more exact one. */
export function problemOf(failure: Failure, requestId: string, status: number = FAILURE_CODES[failure.code].status): Problem {
  return {
    type: 'about:blank',
    title: STATUS_TITLES[status] ?? FAILURE_CODES[failure.code].meaning,
    status,
    code: failure.code,
    detail: failure.message,
    ...(failure.hint === undefined ? {} : { hint: failure.hint }),
    ...(failure.details === undefined ? {} : { details: failure.details }),
    requestId,
  };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The Failure that a problem document tells of, or null where the value is none. An unknown code (a newer server) becomes `internal`. */
export function failureOf(value: unknown): Failure | null {
  if (!isObject(value) || typeof value['code'] !== 'string' || typeof value['detail'] !== 'string') return null;
  const known = Object.hasOwn(FAILURE_CODES, value['code']);
  const code = known ? (value['code'] as FailureCode) : 'internal'; // one of the table's own keys, as just checked
  // Only a defect needs the id again: to find its cause in the log.
  const requestId = code === 'internal' && typeof value['requestId'] === 'string' ? { requestId: value['requestId'] } : {};
  const details = { ...(isObject(value['details']) ? value['details'] : {}), ...requestId };
  return new Failure(code, {
    message: value['detail'],
    hint: typeof value['hint'] === 'string' ? value['hint'] : undefined,
    details: Object.keys(details).length === 0 ? undefined : details,
  });
}
