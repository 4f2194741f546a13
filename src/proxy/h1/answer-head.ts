// The head of an answer (RFC 9112 §4, §6): how its body ends follows from it in one way, or it is not valid. An answer that two parties
// could cut in different places would let one client read what another one asked for.

import { fieldName } from '../fields.ts';
import type { AnswerHead } from '../message.ts';
import { UNKNOWN_LENGTH } from '../message.ts';
import { hasOption, parseFieldLines } from './field-lines.ts';

export type BodyEnd = 'none' | 'length' | 'chunked' | 'close';

export interface ParsedAnswer {
  readonly type: 'answer';
  readonly head: AnswerHead;
  readonly body: BodyEnd;
  readonly keepAlive: boolean;
  /** The protocol of a 101, lower-case. */
  readonly upgrade: string;
}

export interface InvalidAnswer {
  readonly type: 'invalid';
  readonly why: string;
}

const TRAILER = fieldName('Trailer');
const invalid = (why: string): InvalidAnswer => ({ type: 'invalid', why });

/** @param text latin1 text from the first byte to the empty line, both included. @param method of the request. */
export function parseAnswerHead(text: string, method: string): ParsedAnswer | InvalidAnswer {
  const modern = text.startsWith('HTTP/1.1 ');
  if (!modern && !text.startsWith('HTTP/1.0 ')) return invalid('the answer does not begin with HTTP/1.1 or HTTP/1.0');
  const status = digits(text);
  const after = text.charCodeAt(12);
  if (status === -1 || (after !== 32 && after !== 13)) return invalid('the answer has no status of three digits');
  let end = 12;
  for (let code = text.charCodeAt(end); code !== 13; code = text.charCodeAt(end)) {
    if ((code < 32 && code !== 9) || code === 127) return invalid('the reason phrase has a control character');
    end += 1;
  }
  if (text.charCodeAt(end + 1) !== 10) return invalid('a carriage return stands alone');
  const lines = parseFieldLines(text, end + 2);
  if (lines.why !== null) return invalid(lines.why);
  if (lines.chunked && !modern) return invalid('HTTP/1.0 knows no Transfer-Encoding');
  const informational = status < 200;
  const bodiless = informational || method === 'HEAD' || status === 204 || status === 304;
  const body: BodyEnd = bodiless
    ? 'none'
    : lines.chunked
      ? 'chunked'
      : lines.length === -1
        ? 'close'
        : lines.length === 0
          ? 'none'
          : 'length';
  if (lines.trailer !== '' && body === 'chunked' && TRAILER !== null) lines.fields.push(TRAILER, lines.trailer);
  return {
    type: 'answer',
    body,
    keepAlive: body !== 'close' && (modern ? !hasOption(lines.connection, 'close') : hasOption(lines.connection, 'keep-alive')),
    upgrade: lines.upgrade,
    head: {
      status,
      reason: end > 13 ? text.slice(13, end) : '',
      fields: lines.fields,
      length: lines.length === -1 ? UNKNOWN_LENGTH : lines.length,
    },
  };
}

/** The three digits behind the version; -1 where they are not. */
function digits(text: string): number {
  const first = text.charCodeAt(9) - 48;
  const second = text.charCodeAt(10) - 48;
  const third = text.charCodeAt(11) - 48;
  const all = first >= 1 && first <= 9 && second >= 0 && second <= 9 && third >= 0 && third <= 9;
  return all ? first * 100 + second * 10 + third : -1;
}
