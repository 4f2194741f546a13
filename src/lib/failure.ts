// The one error class and the one table of failure codes. Every error that a user can meet carries one of these codes, so HTTP
// status, exit code and the right next step follow from the table and never from the place that threw.

interface FailureCodeInfo {
  /** HTTP status of the problem document. */
  readonly status: number;
  /** Exit code of the command line: 1 failed, 2 usage, 3 not found, 4 refused, 5 conflict, 6 cannot reach the platform. */
  readonly exitCode: 1 | 2 | 3 | 4 | 5 | 6;
  /** True where the same call may succeed later without a change by the caller. */
  readonly retryable: boolean;
  /** What this code means, one sentence for the generated reference. */
  readonly meaning: string;
}

export const FAILURE_CODES = {
  invalid_input: { status: 400, exitCode: 2, retryable: false, meaning: 'A value of the request or of the command line is not valid.' },
  manifest_invalid: {
    status: 422,
    exitCode: 2,
    retryable: false,
    meaning: 'The manifest has errors; details lists each with its line and column.',
  },
  bundle_invalid: { status: 422, exitCode: 1, retryable: false, meaning: 'The uploaded folder holds an entry that may not be unpacked.' },
  too_large: { status: 413, exitCode: 1, retryable: false, meaning: 'Something exceeds a limit that the message names.' },
  unauthenticated: { status: 401, exitCode: 4, retryable: false, meaning: 'No valid credential came with the request.' },
  forbidden: { status: 403, exitCode: 4, retryable: false, meaning: 'The credential is valid but does not permit this.' },
  not_found: { status: 404, exitCode: 3, retryable: false, meaning: 'The named object does not exist.' },
  exists: { status: 409, exitCode: 5, retryable: false, meaning: 'An object of this name exists already.' },
  conflict: { status: 409, exitCode: 5, retryable: true, meaning: 'Somebody else changed the object meanwhile.' },
  precondition_failed: { status: 412, exitCode: 5, retryable: false, meaning: 'If-Match does not name the current version.' },
  idempotency_mismatch: {
    status: 422,
    exitCode: 5,
    retryable: false,
    meaning: 'The Idempotency-Key was used before with another request.',
  },
  plan_refused: { status: 422, exitCode: 1, retryable: false, meaning: 'The change cannot be carried out as asked; nothing was started.' },
  no_capacity: { status: 422, exitCode: 1, retryable: true, meaning: 'No Node has room for the Instances.' },
  build_failed: { status: 422, exitCode: 1, retryable: false, meaning: 'A build command failed.' },
  deployment_failed: { status: 422, exitCode: 1, retryable: false, meaning: 'The Deployment did not become healthy and was taken back.' },
  superseded: { status: 409, exitCode: 5, retryable: false, meaning: 'A newer Deployment of the same Environment took over.' },
  canceled: { status: 409, exitCode: 1, retryable: false, meaning: 'The operation was canceled on request.' },
  start_failed: { status: 422, exitCode: 1, retryable: false, meaning: 'A program could not be started.' },
  compacted: {
    status: 410,
    exitCode: 1,
    retryable: true,
    meaning: 'The asked-for revision is no longer kept; read the current state and go on from there.',
  },
  rate_limited: { status: 429, exitCode: 1, retryable: true, meaning: 'A bound on requests, streams or stored objects is reached.' },
  timeout: { status: 504, exitCode: 1, retryable: true, meaning: 'The operation did not end before its deadline.' },
  unavailable: {
    status: 503,
    exitCode: 6,
    retryable: true,
    meaning: 'A part of the platform that this needs is not running at the moment.',
  },
  unreachable: { status: 502, exitCode: 6, retryable: true, meaning: 'The platform or a Node does not answer.' },
  unsupported: { status: 422, exitCode: 1, retryable: false, meaning: 'This driver, machine or version cannot do that.' },
  port_taken: { status: 409, exitCode: 5, retryable: true, meaning: 'A port that is needed is in use by another process.' },
  data_in_use: { status: 409, exitCode: 5, retryable: true, meaning: 'Another platform runs on this data folder.' },
  data_newer: { status: 409, exitCode: 1, retryable: false, meaning: 'The data was written by a newer version of Libra.' },
  storage_failed: { status: 507, exitCode: 1, retryable: true, meaning: 'The disk refused a read or a write (full, read-only, damaged).' },
  internal: {
    status: 500,
    exitCode: 1,
    retryable: false,
    meaning: 'A defect of Libra; the log of librad has the rest under the request id.',
  },
} as const satisfies Readonly<Record<string, FailureCodeInfo>>;

export type FailureCode = keyof typeof FAILURE_CODES;

export interface FailureOptions {
  /** What the reader can do next, one sentence or a command. */
  readonly hint?: string | undefined;
  /** Structured, public facts: object names, limits, file positions. Never secrets. */
  readonly details?: Readonly<Record<string, unknown>> | undefined;
  /** The underlying error; logged, never shown to the public. */
  readonly cause?: unknown;
}

/** An error whose message is fit for a user: what happened, to which object, why. */
export class Failure extends Error {
  readonly code: FailureCode;
  readonly hint: string | undefined;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(code: FailureCode, options: FailureOptions & { readonly message: string }) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Failure';
    this.code = code;
    this.hint = options.hint;
    this.details = options.details;
  }
}

export function isFailure(error: unknown, code?: FailureCode): error is Failure {
  return error instanceof Failure && (code === undefined || error.code === code);
}

/** Any thrown value as a Failure; what is not one becomes `internal` with a neutral public message. */
export function toFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  return new Failure('internal', { message: 'Something unexpected went wrong inside Libra.', cause: error });
}

/** The message of any thrown value, for logs. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
