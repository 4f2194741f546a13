// One JSON line per request in a file of bounded size. Writing never waits for the disk; what does not fit is counted and told there.
// The line is put together by hand from parts that are made once per Route, since every request pays for it.

import type { Clock } from '../lib/clock.ts';
import { openRotatingFile } from '../sys/rotating-file.ts';
import type { Exchange, ExchangeResult } from './exchange.ts';

export interface AccessRecord {
  /** UTC milliseconds. */
  readonly atMs: number;
  readonly durationMs: number;
  readonly status: number | null;
  readonly exchange: Exchange;
  readonly requestId: string;
  /** The client's address, as far as it is believed. */
  readonly client: string;
  /** Plain hexadecimal. */
  readonly traceId: string;
  readonly spanId: string;
  readonly result: ExchangeResult['type'];
  /** Why it did not go well; null where it did. */
  readonly reason: string | null;
  /** Domain facts that the caller adds: route, app. Made by `labelPart`. */
  readonly labels: string;
}

export interface AccessLog {
  /** A line with its end. */
  write(line: string): void;
  /** Lines that were lost so far: the disk was too slow or refused them. */
  lost(): number;
  stop(): Promise<void>;
}

/** A request waits so long for others to be written with it. */
const GATHER_MS = 100;

/** @param fileBytes size at which the file is set aside as `<file>.1`. */
export function createAccessLog(options: { readonly file: string; readonly fileBytes: number; readonly clock: Clock }): AccessLog {
  const file = openRotatingFile(options.file, options.fileBytes, { gather: { clock: options.clock, ms: GATHER_MS } });
  return { write: (line) => file.write(line), lost: () => file.lost(), stop: () => file.close() };
}

export const noAccessLog: AccessLog = { write: () => undefined, lost: () => 0, stop: () => Promise.resolve() };

/** Names and values as they stand inside of a line, with a comma behind each. */
export function labelPart(labels: Readonly<Record<string, string>>): string {
  let text = '';
  for (const [name, value] of Object.entries(labels)) text += `${quoted(name)}:${quoted(value)},`;
  return text;
}

/** The line of a request, with its end: whoever takes it writes the same text, which is laid out flat once. The path goes without its query, which may hold secrets. */
export function accessLine(record: AccessRecord): string {
  const { exchange } = record;
  const { facts, request, client } = exchange;
  const { tls } = client.connection;
  const query = request.path.indexOf('?');
  const path = query === -1 ? request.path : request.path.slice(0, query);
  const reason = record.reason === null ? '' : `"reason":${quoted(record.reason)},`;
  // What we made or have checked character by character needs no look: ids, addresses, the method, which is a token.
  return `{"at":"${timeText(record.atMs)}","id":"${record.requestId}","client":"${record.client}","method":"${request.method}","host":${quoted(
    request.authority,
  )},"path":${quoted(path)},"protocol":"${client.head.version}","tls":${tls === null ? 'null' : quoted(tls.version)},"status":${
    record.status === null ? 'null' : record.status
  },"result":"${record.result}",${reason}${record.labels}"instance":${facts.target === null ? 'null' : quoted(facts.target.id)},"attempts":${
    facts.attempts
  },"waitMs":${msText(facts.waitMs)},"connectMs":${msText(facts.connectMs)},"firstByteMs":${msText(facts.firstByteMs)},"durationMs":${msText(
    record.durationMs,
  )},"bytesIn":${facts.bytesIn},"bytesOut":${facts.bytesOut},"trace":"${record.traceId}","span":"${record.spanId}"}\n`;
}

/** The line of what was no request, or came over a connection that could not be taken: the same names, with nothing where nothing is known. */
export function refusalLine(atMs: number, status: number, reason: string, client: string): string {
  return `{"at":"${timeText(atMs)}","id":"","client":${quoted(client)},"method":"","host":"","path":"","protocol":"","tls":null,"status":${status},"result":"refused","reason":${quoted(
    reason,
  )},"instance":null,"attempts":0,"waitMs":0,"connectMs":null,"firstByteMs":null,"durationMs":0,"bytesIn":0,"bytesOut":0,"trace":"","span":""}\n`;
}

/** Also the controls of latin1, which a terminal would obey, and halves of pairs. */
const ESCAPED = /["\\\u0000-\u001F\u007F-\u009F\u2028\u2029\uD800-\uDFFF]/;
const CONTROLS = /[\u007F-\u009F\u2028\u2029]/g;

/** As JSON. Almost every text needs nothing but the quotes. */
export function quoted(text: string): string {
  if (!ESCAPED.test(text)) return `"${text}"`;
  return JSON.stringify(text).replaceAll(CONTROLS, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

const MILLISECONDS = Array.from({ length: 1000 }, (_, index) => String(index).padStart(3, '0'));
const FRACTIONS = MILLISECONDS.map((digits, index) => (index === 0 ? '' : `.${digits.replace(/0+$/u, '')}`));

/** Microseconds are enough. */
function msText(ms: number | null): string {
  if (ms === null) return 'null';
  const micros = Math.max(0, Math.round(ms * 1000));
  const whole = Math.floor(micros / 1000);
  return `${whole}${FRACTIONS[micros - whole * 1000] ?? ''}`;
}

let second = -1;
let secondText = '';

/** ISO 8601 with milliseconds; the part that only changes every second is kept. */
function timeText(atMs: number): string {
  const at = Math.floor(atMs / 1000);
  if (at !== second) {
    second = at;
    secondText = new Date(at * 1000).toISOString().slice(0, -4);
  }
  return `${secondText}${MILLISECONDS[Math.floor(atMs - at * 1000)] ?? '000'}Z`;
}
