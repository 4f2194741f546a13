// One JSON line per request in a file of bounded size. Writing never waits for the disk; what does not fit is counted and told there.

import { openRotatingFile } from '../sys/rotating-file.ts';
import type { Exchange, ExchangeResult } from './exchange.ts';

export interface AccessRecord {
  /** UTC milliseconds. */
  readonly atMs: number;
  readonly durationMs: number;
  readonly status: number | null;
  readonly exchange: Exchange;
  readonly requestId: string;
  readonly result: ExchangeResult['type'];
  /** Why it did not go well; null where it did. */
  readonly reason: string | null;
  /** Domain facts that the caller adds: route, app. */
  readonly labels: Readonly<Record<string, string>>;
}

export interface AccessLog {
  write(record: AccessRecord): void;
  stop(): Promise<void>;
}

/** @param fileBytes size at which the file is set aside as `<file>.1`. */
export function createAccessLog(options: { readonly file: string; readonly fileBytes: number }): AccessLog {
  const file = openRotatingFile(options.file, options.fileBytes);
  return { write: (record) => file.write(`${accessLine(record)}\n`), stop: () => file.close() };
}

export const noAccessLog: AccessLog = { write: () => undefined, stop: () => Promise.resolve() };

/** The line of a request. The path goes without its query, which may hold secrets. */
export function accessLine(record: AccessRecord): string {
  const { exchange } = record;
  const { facts, request } = exchange;
  const query = request.path.indexOf('?');
  return JSON.stringify({
    at: new Date(record.atMs).toISOString(),
    id: record.requestId,
    client: exchange.client.connection.address,
    method: request.method,
    host: request.authority,
    path: query === -1 ? request.path : request.path.slice(0, query),
    status: record.status,
    result: record.result,
    ...(record.reason === null ? {} : { reason: record.reason }),
    ...record.labels,
    instance: facts.target?.id ?? null,
    attempts: facts.attempts,
    durationMs: round(record.durationMs),
    connectMs: round(facts.connectMs),
    firstByteMs: round(facts.firstByteMs),
    bytesIn: facts.bytesIn,
    bytesOut: facts.bytesOut,
  });
}

/** Microseconds are enough. */
function round(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms * 1000) / 1000;
}
