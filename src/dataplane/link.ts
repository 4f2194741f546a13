// The Edge's way to control. The address and the credential stand in a file that is read anew before every connection, since a librad
// that comes back may listen elsewhere.

import { readFile } from 'node:fs/promises';
import { createClient } from '../api/client.ts';
import type { Client } from '../api/client.ts';
import { dataplane } from '../api/dataplane.ts';
import type { EdgeReport, TableMessage, TapBatch } from '../api/dataplane.ts';
import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { readJsonFile } from '../sys/durable-file.ts';
import { createTlsFetch } from '../sys/http-fetch.ts';
import type { HttpFetch, TlsParty } from '../sys/http-fetch.ts';
import { createControlWays, fetchOverWays } from '../tunnel/control-ways.ts';
import type { ControlWays } from '../tunnel/control-ways.ts';
import { controlParty, identityOf } from '../tunnel/identity.ts';

export interface EdgeLink {
  /** Table messages, a snapshot first. Ends or throws when the connection does; the caller connects again. */
  sync(signal: AbortSignal): AsyncIterable<TableMessage>;
  report(report: EdgeReport, signal: AbortSignal): Promise<void>;
  /** Requests that somebody watches; false: nobody does any more. */
  tell(batch: Omit<TapBatch, 'edgeId'>, signal: AbortSignal): Promise<boolean>;
}

/** What the connection file holds: a token, or the file that says which machine this is to servers that ask. */
interface ControlConnection {
  /** Of control planes, any of which will do. */
  readonly urls: readonly [string, ...string[]];
  readonly token: string | null;
  readonly identityFile: string | null;
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
  if (typeof value === 'object' && value !== null) {
    const token = 'token' in value && typeof value.token === 'string' ? value.token : null;
    const identityFile = 'identityFile' in value && typeof value.identityFile === 'string' ? value.identityFile : null;
    const named = 'urls' in value && Array.isArray(value.urls) ? value.urls : 'url' in value ? [value.url] : [];
    const [first, ...others] = named.filter((url) => typeof url === 'string');
    if (first !== undefined && (token !== null || identityFile !== null)) return { urls: [first, ...others], token, identityFile };
  }
  throw new Failure('unavailable', { message: `The connection file ${file} holds no url with a token or an identity.` });
}

export interface HttpLinkOptions {
  /** JSON: `url` or `urls` of control, and `token` or `identityFile`, the path of what says which machine this is. */
  readonly connectionFile: string;
  readonly edgeId: string;
  readonly clock: Clock;
}

/** Throws `unavailable` where the file does not say it. */
function readParty(file: string): TlsParty {
  const identity = identityOf(readJsonFile(file));
  if (identity !== null) return controlParty(identity);
  throw new Failure('unavailable', {
    message: `${file} does not say which machine this is.`,
    hint: 'Restore the file, or let the machine join anew: libra nodes invite, on the platform, and libra join, here.',
  });
}

export function createHttpLink(options: HttpLinkOptions): EdgeLink {
  let party: TlsParty | null = null;
  let ways: ControlWays | null = null;
  const tlsFetch = createTlsFetch(() => {
    if (party === null) throw new Failure('internal', { message: 'Nobody has said which machine this is.' });
    return party;
  });
  /** Connections are kept as long as it is the same machine with the same key. */
  const fetchAs = (next: TlsParty, urls: ControlConnection['urls']): HttpFetch => {
    if (party?.cert !== next.cert) party = next;
    ways ??= createControlWays(urls);
    ways.learn(urls);
    return fetchOverWays(ways, tlsFetch);
  };
  const connect = async (): Promise<Client<{ dataplane: typeof dataplane }>> => {
    const { urls, token, identityFile } = await readConnection(options.connectionFile);
    const fetch = identityFile === null ? {} : { fetch: fetchAs(readParty(identityFile), urls) };
    // One attempt each: trying again begins with reading the file again.
    return createClient({ dataplane }, { url: urls[0], token, ...fetch, clock: options.clock, attempts: 1 });
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
