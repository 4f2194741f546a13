// The field lines of a head or a trailer section (RFC 9112 §5), strictly: CRLF ends a line and nothing else does, no folding, no white
// space before the colon, no control characters. What frames the message is taken out here and never crosses the proxy as text.

import { FIELD, Fields, fieldNameIn } from '../fields.ts';

const CR = 13;
const LF = 10;
const TAB = 9;
const SPACE = 32;
const DELETE = 127;

const MAX_FIELDS = 128;

/** A length beyond this cannot be counted exactly; it is also 7 PiB. */
const MAX_LENGTH_DIGITS = 15;

/** What the field lines of a head say, apart from the fields that cross. */
export interface FieldLines {
  readonly fields: Fields;
  /** Null: no Host field. */
  host: string | null;
  /** Content-Length; -1: none. */
  length: number;
  chunked: boolean;
  /** Connection options in lower case, joined by commas; '' where there are none. */
  connection: string;
  /** Upgrade in lower case. */
  upgrade: string;
  te: string;
  expect: string;
  trailer: string;
  /** Where there is `why`, the section is not valid and nothing else counts. */
  why: string | null;
  /** 400, 417 or 431. */
  status: number;
}

function emptyLines(): FieldLines {
  return {
    fields: new Fields(),
    host: null,
    length: -1,
    chunked: false,
    connection: '',
    upgrade: '',
    te: '',
    expect: '',
    trailer: '',
    why: null,
    status: 400,
  };
}

function refuse(lines: FieldLines, why: string, status = 400): FieldLines {
  lines.why = why;
  lines.status = status;
  return lines;
}

/** @param text latin1 text that ends with the empty line of the section. @param at where its first line begins. */
export function parseFieldLines(text: string, at: number): FieldLines {
  const lines = emptyLines();
  const { fields } = lines;
  let line = at;
  let count = 0;
  while (text.charCodeAt(line) !== CR) {
    count += 1;
    if (count > MAX_FIELDS) return refuse(lines, `there are more than ${MAX_FIELDS} fields`, 431);
    const colon = text.indexOf(':', line);
    const name = colon === -1 ? null : fieldNameIn(text, line, colon);
    if (name === null) return refuse(lines, nameProblem(text, line));
    let end = colon + 1;
    for (let code = text.charCodeAt(end); code !== CR; code = text.charCodeAt(end)) {
      if ((code < SPACE && code !== TAB) || code === DELETE) return refuse(lines, 'a field value has a control character');
      end += 1;
    }
    if (text.charCodeAt(end + 1) !== LF) return refuse(lines, 'a carriage return stands alone');
    let from = colon + 1;
    while (from < end && isBlank(text.charCodeAt(from))) from += 1;
    let to = end;
    while (to > from && isBlank(text.charCodeAt(to - 1))) to -= 1;
    const value = text.slice(from, to);
    line = end + 2;
    switch (name.kind) {
      case FIELD.plain:
      case FIELD.origin:
        fields.push(name, value);
        break;
      case FIELD.hop:
        break;
      case FIELD.host:
        if (lines.host !== null) return refuse(lines, 'there is more than one Host field');
        lines.host = value;
        break;
      case FIELD.contentLength:
        if (lines.length !== -1) return refuse(lines, 'there is more than one Content-Length');
        lines.length = lengthOf(value);
        if (lines.length === -1) return refuse(lines, 'Content-Length is no plain number');
        break;
      case FIELD.transferEncoding:
        if (lines.chunked) return refuse(lines, 'there is more than one Transfer-Encoding');
        if (value.toLowerCase() !== 'chunked') return refuse(lines, 'Transfer-Encoding is something else than chunked');
        lines.chunked = true;
        break;
      case FIELD.connection:
        lines.connection = joined(lines.connection, value);
        break;
      case FIELD.upgrade:
        lines.upgrade = joined(lines.upgrade, value);
        break;
      case FIELD.te:
        lines.te = joined(lines.te, value);
        break;
      case FIELD.expect:
        lines.expect = joined(lines.expect, value);
        break;
      case FIELD.trailer:
        lines.trailer = lines.trailer === '' ? value : `${lines.trailer}, ${value}`;
        break;
    }
  }
  if (text.charCodeAt(line + 1) !== LF) return refuse(lines, 'a carriage return stands alone');
  if (lines.chunked && lines.length !== -1) return refuse(lines, 'there are both Content-Length and Transfer-Encoding');
  if (lines.connection !== '') dropNamed(lines);
  return lines;
}

/** Connection options that say nothing about a field of ours. */
const OPTIONS: ReadonlySet<string> = new Set(['keep-alive', 'close', 'upgrade', 'te', '']);
/** Naming one of these would take the message apart, not the connection. */
const NEVER_NAMED: ReadonlySet<string> = new Set(['host', 'content-length', 'transfer-encoding', 'trailer']);

/** Takes out the fields that Connection names (RFC 9110 §7.6.1). */
function dropNamed(lines: FieldLines): void {
  const { connection } = lines;
  // Nearly always; a text that was cut out of a head has to be hashed before it can be looked up.
  if (connection === 'keep-alive' || connection === 'close' || OPTIONS.has(connection)) return;
  const named = new Set<string>();
  for (const part of connection.split(',')) {
    const option = part.trim();
    if (NEVER_NAMED.has(option)) {
      refuse(lines, `Connection names ${option}`);
      return;
    }
    if (!OPTIONS.has(option)) named.add(option);
  }
  if (named.size > 0) lines.fields.keep((name) => !named.has(name.lower));
}

export function hasOption(list: string, option: string): boolean {
  if (list === option) return true;
  return list !== '' && list.includes(option) && list.split(',').some((part) => part.trim() === option);
}

function joined(list: string, value: string): string {
  if (list === '' && value === 'keep-alive') return 'keep-alive';
  const lower = value.toLowerCase();
  return list === '' ? lower : `${list},${lower}`;
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}

/** -1 where it is no plain number. */
function lengthOf(value: string): number {
  if (value.length === 0 || value.length > MAX_LENGTH_DIGITS) return -1;
  let length = 0;
  for (let index = 0; index < value.length; index += 1) {
    const digit = value.charCodeAt(index) - 48;
    if (digit < 0 || digit > 9) return -1;
    length = length * 10 + digit;
  }
  return length;
}

function nameProblem(text: string, line: number): string {
  if (isBlank(text.charCodeAt(line))) return 'a field line begins with white space';
  const rest = text.slice(line, line + 256);
  return /^[^\r\n:]*[ \t]:/u.test(rest) ? 'there is white space before a colon' : 'a field name is not valid';
}
