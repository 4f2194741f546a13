// The Edge's way to control. The address and the credential stand in a file that is read anew before every connection, since a librad
// that comes back may listen elsewhere.

import { readFile } from 'node:fs/promises';
import { createClient } from '../api/client.ts';
import type { Client } from '../api/client.ts';
import { dataplane } from '../api/dataplane.ts';
import type { EdgeReport, TableMessage, TapBatch } from '../api/dataplane.ts';
import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';

export interface EdgeLink {
  /** Table messages, a snapshot first. Ends or throws when the connection does; the caller connects again. */
  sync(signal: AbortSignal): AsyncIterable<TableMessage>;
  report(report: EdgeReport, signal: AbortSignal): Promise<void>;
  /** Requests that somebody watches; false: nobody does any more. */
  tell(batch: Omit<TapBatch, 'edgeId'>, signal: AbortSignal): Promise<boolean>;
}

/** What the connection file holds. */
interface ControlConnection {
  readonly url: string;
  readonly token: string;
}

const REPORT_TIMEOUT_MS = 5_000;

/** Where control is now. Throws `unavailable` while the file is missing or unfinished. */
async function readConnection(file: string): Promise<ControlConnection> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new Failure('unavailable', { message: `The connection file ${file} cannot be read.`, cause: error });
  }
  if (typeof value === 'object' && value !== null && 'url' in value && 'token' in value) {
    const { url, token } = value;
    if (typeof url === 'string' && typeof token === 'string') return { url, token };
  }
  throw new Failure('unavailable', { message: `The connection file ${file} holds no url and token.` });
}

export interface HttpLinkOptions {
  /** JSON file with `url` and `token`. */
  readonly connectionFile: string;
  readonly edgeId: string;
  readonly clock: Clock;
}

export function createHttpLink(options: HttpLinkOptions): EdgeLink {
  const connect = async (): Promise<Client<{ dataplane: typeof dataplane }>> => {
    const { url, token } = await readConnection(options.connectionFile);
    // One attempt each: trying again begins with reading the file again.
    return createClient({ dataplane }, { url, token, clock: options.clock, attempts: 1 });
  };
  return {
    sync: async function* (signal) {
      const client = await connect();
      yield* client.dataplane.sync({ query: { edge: options.edgeId }, signal, giveUpAfterMs: 0 });
    },
    report: async (report, signal) => {
      const client = await connect();
      await client.dataplane.report({ body: report, signal, timeoutMs: REPORT_TIMEOUT_MS });
    },
    tell: async (batch, signal) => {
      const client = await connect();
      const body = { edgeId: options.edgeId, ...batch };
      return (await client.dataplane.requests({ body, signal, timeoutMs: REPORT_TIMEOUT_MS })).wanted;
    },
  };
}
