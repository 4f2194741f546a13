// Turns whatever was thrown into the problem document of the reply. An unexpected error becomes `internal` without its cause, which
// goes to the log only.

import { FAILURE_CODES, Failure, toFailure } from '../lib/failure.ts';
import { PROBLEM_TYPE, problemOf } from '../api/problem.ts';
import type { Problem } from '../api/problem.ts';
import type { Log } from '../sys/log.ts';

/** A Failure that HTTP has a more exact status for than its code's own, with headers that go with it. */
export class HttpFailure extends Failure {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(failure: Failure, status: number, headers: Readonly<Record<string, string>> = {}) {
    super(failure.code, { message: failure.message, hint: failure.hint, details: failure.details, cause: failure.cause });
    this.status = status;
    this.headers = headers;
  }
}

export interface ProblemReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly problem: Problem;
}

function frameworkCode(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null;
}

/** What the HTTP layer itself refuses, in our words. */
function fromFramework(error: unknown): Failure | null {
  switch (frameworkCode(error)) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new Failure('too_large', { message: 'The body is larger than this endpoint takes.', cause: error });
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new HttpFailure(
        new Failure('invalid_input', {
          message: 'The body must be JSON.',
          hint: 'Send the header content-type: application/json.',
          cause: error,
        }),
        415,
      );
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
    case 'ECONNRESET':
      return new Failure('invalid_input', { message: 'The body ended before its declared length.', cause: error });
    case 'FST_ERR_BAD_URL':
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new Failure('invalid_input', { message: 'The path of the request is not valid.', cause: error });
    case null:
    default:
      return null;
  }
}

export function problemReply(error: unknown, requestId: string, log: Log): ProblemReply {
  const failure = error instanceof Failure ? error : (fromFramework(error) ?? toFailure(error));
  const status = failure instanceof HttpFailure ? failure.status : FAILURE_CODES[failure.code].status;
  if (status >= 500) {
    // While leadership moves every machine asks again and again.
    const level = failure.code === 'internal' ? 'error' : failure.details?.['moving'] === true ? 'debug' : 'warn';
    log[level]({ requestId, code: failure.code, error: failure.cause ?? failure }, failure.message);
  }
  const headers: Record<string, string> = { 'content-type': PROBLEM_TYPE };
  if (failure instanceof HttpFailure) Object.assign(headers, failure.headers);
  if (failure.code === 'unauthenticated') headers['www-authenticate'] = 'Bearer realm="libra"';
  if (failure.code === 'rate_limited' || failure.code === 'unavailable') headers['retry-after'] = '1';
  return { status, headers, problem: problemOf(failure, requestId, status) };
}
