// Small facts of the HTTP side that several parts of the server share: limits, the audit entry, queries and request ids.

import type { FailureCode } from '../lib/failure.ts';
import type { Principal } from './handler.ts';
import type { HeaderBag } from './server-guard.ts';

export interface ServerLimits {
  readonly connections: number;
  /** Open event streams. */
  readonly streams: number;
  readonly sockets: number;
  readonly socketFrameBytes: number;
  /** Longest wait for the headers of a request, milliseconds. */
  readonly headersMs: number;
  /** Longest wait for a whole JSON body, milliseconds. */
  readonly bodyMs: number;
  /** Longest silence of an upload or download, milliseconds. */
  readonly transferIdleMs: number;
  /** Longest run of a handler that answers with JSON, milliseconds. */
  readonly handlerMs: number;
  readonly heartbeatMs: number;
  readonly slowReaderMs: number;
  /** How long stop waits for open calls, milliseconds. */
  readonly stopMs: number;
}

export const SERVER_LIMITS: ServerLimits = {
  connections: 10_000,
  streams: 5000,
  sockets: 200,
  socketFrameBytes: 1024 * 1024,
  headersMs: 10_000,
  bodyMs: 30_000,
  transferIdleMs: 60_000,
  handlerMs: 120_000,
  heartbeatMs: 15_000,
  slowReaderMs: 30_000,
  stopMs: 10_000,
};

/** One write (or socket), done or refused. Never holds the body. */
export interface AuditEntry {
  readonly atMs: number;
  readonly requestId: string;
  readonly principal: Principal;
  /** `<noun>.<verb>`. */
  readonly endpoint: string;
  readonly method: string;
  readonly params: Readonly<Record<string, string>>;
  readonly status: number;
  /** null where it was done. */
  readonly code: FailureCode | null;
  readonly durationMs: number;
}

/** A name that occurs twice becomes a list, which the shapes refuse. */
export function parseQueryString(text: string): Record<string, string | readonly string[]> {
  const query: Record<string, string | readonly string[]> = Object.create(null);
  const search = new URLSearchParams(text);
  for (const name of new Set(search.keys())) {
    const values = search.getAll(name);
    query[name] = values.length === 1 ? (values[0] ?? '') : values;
  }
  return query;
}

/** The caller's `x-request-id` where it is harmless, else a new one. */
export function requestIdOf(headers: HeaderBag, makeId: () => string): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && /^[A-Za-z0-9._-]{8,64}$/u.test(given) ? given : makeId();
}
