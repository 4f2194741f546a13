// The head of an HTTP/2 answer (RFC 9113 §8.3.2), as strict as the one of HTTP/1.1: a client of HTTP/1.1 will read it as text.

import { FIELD, Fields, fieldName } from '../fields.ts';
import type { AnswerHead } from '../message.ts';
import { UNKNOWN_LENGTH } from '../message.ts';

const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/u;
const STATUS = /^[1-9]\d\d$/u;
const LENGTH = /^\d{1,15}$/u;

/** Null where it is not valid. @param ended no body follows. @param toHead of an answer without a body, whatever its length says. */
export function readAnswerHead(raw: readonly string[], ended: boolean, toHead: boolean): AnswerHead | null {
  let status = 0;
  let length = UNKNOWN_LENGTH;
  const fields = new Fields();
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const spelling = raw[index] ?? '';
    const value = (raw[index + 1] ?? '').trim();
    if (spelling === ':status') {
      if (!STATUS.test(value) || status !== 0) return null;
      status = Number(value);
      continue;
    }
    const name = fieldName(spelling);
    if (name === null || !VALUE.test(value)) return null;
    if (name.kind === FIELD.plain || name.kind === FIELD.origin || name.kind === FIELD.trailer) fields.push(name, value);
    else if (name.kind === FIELD.contentLength) {
      if (!LENGTH.test(value) || length !== UNKNOWN_LENGTH) return null;
      length = Number(value);
    }
  }
  if (status === 0) return null;
  if (!ended || toHead || status === 304) return { status, reason: '', fields, length };
  return length > 0 ? null : { status, reason: '', fields, length: 0 };
}
