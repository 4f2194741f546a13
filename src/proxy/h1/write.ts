// Heads and chunks as text. Everything that leaves is written here, from what was understood, never copied from what came in.

import http from 'node:http';
import { FIELD } from '../fields.ts';
import type { Fields } from '../fields.ts';
import type { AnswerHead, UpstreamRequest } from '../message.ts';
import { UNKNOWN_LENGTH } from '../message.ts';

/** Methods for which a missing length could be taken for a missing body. */
const USUALLY_WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

/** @param key for an upgrade whose client has made none; '' for none. */
export function requestHeadText(request: UpstreamRequest, key: string): string {
  const { names, values } = request.fields;
  let text = `${request.method} ${request.path} HTTP/1.1\r\nHost: ${request.authority}\r\n`;
  for (let index = 0; index < names.length; index += 1) {
    const name = names[index];
    if (name === undefined || name.kind === FIELD.origin) continue;
    if (name.kind === FIELD.trailer && request.length !== UNKNOWN_LENGTH) continue;
    text += `${name.prefix}${values[index] ?? ''}\r\n`;
  }
  text += request.origin.text();
  if (request.expectsContinue) text += 'Expect: 100-continue\r\n';
  if (request.upgrade !== null)
    return `${text}${key === '' ? '' : `Sec-WebSocket-Key: ${key}\r\n`}Connection: Upgrade\r\nUpgrade: ${request.upgrade}\r\n\r\n`;
  if (request.length > 0) text += `Content-Length: ${request.length}\r\n`;
  else if (request.length === UNKNOWN_LENGTH) text += 'Transfer-Encoding: chunked\r\n';
  else if (USUALLY_WITH_BODY.has(request.method)) text += 'Content-Length: 0\r\n';
  return request.takesTrailers ? `${text}TE: trailers\r\nConnection: TE\r\n\r\n` : `${text}\r\n`;
}

export interface AnswerFraming {
  readonly kind: 'none' | 'length' | 'chunked' | 'close';
  readonly close: boolean;
  /** Said where an older client could expect the opposite. */
  readonly keepAliveOld: boolean;
}

/** @param date for an answer that has none. */
export function answerHeadText(head: AnswerHead, framing: AnswerFraming, date: string): string {
  const { names, values } = head.fields;
  let text = statusLine(head.status, head.reason);
  let dated = false;
  for (let index = 0; index < names.length; index += 1) {
    const name = names[index];
    if (name === undefined) continue;
    if (name.kind === FIELD.trailer && framing.kind !== 'chunked') continue;
    if (name.lower === 'date') dated = true;
    text += `${name.prefix}${values[index] ?? ''}\r\n`;
  }
  if (head.status === 101) return `${text}Connection: Upgrade\r\nUpgrade: ${head.protocol ?? 'websocket'}\r\n\r\n`;
  if (!dated) text += `Date: ${date}\r\n`;
  if (framing.kind === 'chunked') text += 'Transfer-Encoding: chunked\r\n';
  else if (head.length !== UNKNOWN_LENGTH && head.status !== 204) text += `Content-Length: ${head.length}\r\n`;
  if (framing.close) return `${text}Connection: close\r\n\r\n`;
  return framing.keepAliveOld ? `${text}Connection: keep-alive\r\n\r\n` : `${text}\r\n`;
}

export function informationalText(status: number, fields: Fields): string {
  return `${statusLine(status, '')}${fields.text()}\r\n`;
}

const LAST_CHUNK = '0\r\n\r\n';

export function lastChunkText(trailers: Fields | null): string {
  return trailers === null ? LAST_CHUNK : `0\r\n${trailers.text()}\r\n`;
}

const plainLines = new Map<number, string>();

function statusLine(status: number, reason: string): string {
  const known = http.STATUS_CODES[status] ?? '';
  if (reason !== '' && reason !== known) return `HTTP/1.1 ${status} ${reason}\r\n`;
  let line = plainLines.get(status);
  if (line === undefined) {
    line = `HTTP/1.1 ${status} ${known}\r\n`;
    plainLines.set(status, line);
  }
  return line;
}
