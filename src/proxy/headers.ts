// What of a message's headers crosses the proxy (RFC 9110 §7.6.1). Framing is written anew on each side, never copied, and what a
// client says about where it comes from is replaced by what the Edge itself sees.

import type { IncomingMessage } from 'node:http';

const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);

/** Said by the Edge alone. */
const OURS: ReadonlySet<string> = new Set([
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-forwarded-server',
  'x-real-ip',
  'x-request-id',
]);

/** May not travel in a trailer section (RFC 9110 §6.5.1). */
const NOT_IN_TRAILERS: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  ...OURS,
  'authorization',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'cookie',
  'expect',
  'host',
  'set-cookie',
  'trailer',
]);

export interface ClientFacts {
  /** As the client named it. */
  readonly host: string;
  readonly address: string;
  readonly protocol: 'http' | 'https';
  readonly requestId: string;
}

/** Names that a Connection header declares as hop-by-hop, lower-case. */
function connectionTokens(message: IncomingMessage): ReadonlySet<string> | null {
  const value = message.headers.connection;
  if (value === undefined) return null;
  const lower = value.toLowerCase();
  if (lower === 'keep-alive' || lower === 'close') return null;
  return new Set(lower.split(',').map((token) => token.trim()));
}

/** How the body of a request is framed; null where there is none. */
export function requestFraming(message: IncomingMessage): { readonly length: number } | 'chunked' | null {
  if (message.headers['transfer-encoding'] !== undefined) return 'chunked';
  const length = message.headers['content-length'];
  if (length === undefined) return null;
  return length === '0' ? null : { length: Number(length) };
}

/** Methods for which a missing length could be taken for a missing body. */
const USUALLY_WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

/** Headers of the request to the target, as a flat list. `upgrade`: the protocol that is asked for, or null. */
export function upstreamHeaders(message: IncomingMessage, client: ClientFacts, upgrade: string | null): string[] {
  const tokens = connectionTokens(message);
  const raw = message.rawHeaders;
  const headers: string[] = ['Host', client.host];
  const framing = upgrade === null ? requestFraming(message) : null;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    const lower = name.toLowerCase();
    if (lower === 'host' || lower === 'content-length' || HOP_BY_HOP.has(lower) || OURS.has(lower) || tokens?.has(lower) === true) continue;
    if (lower === 'trailer' && framing !== 'chunked') continue;
    headers.push(name, raw[index + 1] ?? '');
  }
  headers.push('X-Forwarded-For', client.address, 'X-Forwarded-Proto', client.protocol, 'X-Forwarded-Host', client.host);
  headers.push('X-Request-Id', client.requestId);
  if (
    String(message.headers.te ?? '')
      .toLowerCase()
      .includes('trailers')
  )
    headers.push('TE', 'trailers');
  if (upgrade !== null) {
    headers.push('Connection', 'Upgrade', 'Upgrade', upgrade);
    return headers;
  }
  headers.push('Connection', 'keep-alive');
  if (framing === 'chunked') headers.push('Transfer-Encoding', 'chunked');
  else if (framing !== null) headers.push('Content-Length', String(framing.length));
  else if (USUALLY_WITH_BODY.has(message.method ?? '')) headers.push('Content-Length', '0');
  return headers;
}

/**
 * Headers of the answer to the client, as a flat list; the codec adds Connection, Keep-Alive and chunked framing. `trailers`: the
 * client can get a trailer section, so an announcement of one may stay.
 */
export function clientHeaders(message: IncomingMessage, requestId: string, trailers: boolean): string[] {
  const tokens = connectionTokens(message);
  const raw = message.rawHeaders;
  const headers: string[] = [];
  let hasId = false;
  const chunked = message.headers['transfer-encoding'] !== undefined;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower) || tokens?.has(lower) === true) continue;
    if (chunked && lower === 'content-length') continue;
    if (lower === 'trailer' && !(trailers && chunked)) continue;
    if (lower === 'x-request-id') hasId = true;
    headers.push(name, raw[index + 1] ?? '');
  }
  if (!hasId) headers.push('X-Request-Id', requestId);
  return headers;
}

/** Trailer fields that may cross, as pairs. */
export function trailerPairs(message: IncomingMessage): [string, string][] {
  const raw = message.rawTrailers;
  const pairs: [string, string][] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    if (!NOT_IN_TRAILERS.has(name.toLowerCase())) pairs.push([name, raw[index + 1] ?? '']);
  }
  return pairs;
}
