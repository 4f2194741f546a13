// The head of a request (RFC 9112 §3): one way to read it, or a refusal. What is read here is written anew for the target; the text
// itself never crosses.

import { fieldName, fieldNameIn } from '../fields.ts';
import type { RequestHead } from '../message.ts';
import { OWN_PROTOCOL, UNKNOWN_LENGTH } from '../message.ts';
import { hasOption, parseFieldLines } from './field-lines.ts';

export interface ParsedRequest {
  readonly type: 'request';
  readonly head: RequestHead;
  readonly chunked: boolean;
  readonly keepAlive: boolean;
}

export interface RefusedMessage {
  readonly type: 'refused';
  readonly status: 400 | 408 | 414 | 417 | 431 | 505;
  readonly why: string;
}

const MAX_TARGET_BYTES = 16 * 1024;
const MAX_METHOD_LENGTH = 32;
const TRAILER = fieldName('Trailer');

const refused = (why: string, status: RefusedMessage['status'] = 400): RefusedMessage => ({ type: 'refused', status, why });

/** As texts of their own: what is cut out of a head has to be hashed anew wherever it is looked up. */
const COMMON_METHODS = ['GET', 'POST', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'] as const;

function methodIn(text: string, end: number): string | null {
  for (const method of COMMON_METHODS) if (method.length === end && text.startsWith(method)) return method;
  // A method is a token, as a field name is.
  return fieldNameIn(text, 0, end) === null ? null : text.slice(0, end);
}

/** @param text latin1 text from the first byte of the request line to the empty line, both included. */
export function parseRequestHead(text: string): ParsedRequest | RefusedMessage {
  const space = text.indexOf(' ');
  if (space < 1 || space > MAX_METHOD_LENGTH) return refused('the request line has no method');
  const method = methodIn(text, space);
  if (method === null) return refused('the method is not valid');
  let end = space + 1;
  // Visible ASCII: neither white space nor control characters, and nothing that each server would decode in its own way.
  for (let code = text.charCodeAt(end); code > 32 && code < 127; code = text.charCodeAt(end)) end += 1;
  if (text.charCodeAt(end) !== 32 || end === space + 1) return refused('the request line is not "method target version"');
  if (end - space > MAX_TARGET_BYTES) return refused(`the request target is longer than ${MAX_TARGET_BYTES} bytes`, 414);
  const target = text.slice(space + 1, end);
  const lineEnd = text.indexOf('\r', end);
  if (text.charCodeAt(lineEnd + 1) !== 10) return refused('a carriage return stands alone');
  const version = text.slice(end + 1, lineEnd);
  if (version !== 'HTTP/1.1' && version !== 'HTTP/1.0') {
    return /^HTTP\/\d\.\d$/u.test(version)
      ? refused(`${version} is not spoken here`, 505)
      : refused('the request line names no HTTP version');
  }
  const lines = parseFieldLines(text, lineEnd + 2);
  // The parser gives only statuses of this table.
  if (lines.why !== null) return refused(lines.why, lines.status as RefusedMessage['status']);
  const modern = version === 'HTTP/1.1';
  if (lines.host === null) return refused('the Host field is missing');
  if (lines.chunked && !modern) return refused('HTTP/1.0 knows no Transfer-Encoding');
  if (method === 'CONNECT') return refused('CONNECT asks for a tunnel, which is not to be had here');
  if (lines.expect !== '' && lines.expect !== '100-continue') return refused('what Expect asks for is not known here', 417);
  const { connection } = lines;
  const length = lines.chunked ? UNKNOWN_LENGTH : Math.max(0, lines.length);
  if (lines.trailer !== '' && lines.chunked && TRAILER !== null) lines.fields.push(TRAILER, lines.trailer);
  // A body would be taken for the first bytes of the stream (RFC 9110 §7.8 lets an Upgrade be ignored).
  const upgrades = modern && method === 'GET' && lines.upgrade !== '' && length === 0 && hasOption(connection, 'upgrade');
  return {
    type: 'request',
    chunked: lines.chunked,
    keepAlive: modern ? !hasOption(connection, 'close') : hasOption(connection, 'keep-alive'),
    head: {
      version: modern ? '1.1' : '1.0',
      method,
      target,
      host: lines.host,
      fields: lines.fields,
      length,
      upgrade: upgrades && lines.upgrade === 'websocket' ? 'websocket' : null,
      // By its name: a spread is several times as dear, and every request pays for it.
      ownProtocol: upgrades && lines.upgrade === OWN_PROTOCOL ? OWN_PROTOCOL : undefined,
      expectsContinue: modern && lines.expect !== '' && length !== 0,
      takesTrailers: lines.te !== '' && hasOption(lines.te, 'trailers'),
    },
  };
}
