// One HTTP request with the surface of fetch that the client uses. Built on node:http through getBuiltinModule: importing that module, or
// touching the global fetch, would load the whole of fetch with it, 30 to 70 ms in front of every command.

import type { IncomingMessage } from 'node:http';
import type { Agent } from 'node:https';
import { systemClock } from '../lib/clock.ts';

/** A subset of RequestInit. */
export interface FetchRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null;
  readonly signal: AbortSignal;
}

/** A subset of Response. */
export interface FetchReply {
  readonly ok: boolean;
  readonly status: number;
  readonly headers: { readonly get: (name: string) => string | null };
  readonly body: ReadableStream<Uint8Array> | null;
}

/** What is shown to the other end of TLS, and asked of it. */
export interface TlsParty {
  /** PEM: whose certificates are believed. */
  readonly ca: string;
  /** PEM: shown to servers that ask; absent: nothing. */
  readonly cert?: string;
  readonly key?: string;
  /** The name that the server's certificate has to have, whatever address it is reached at. */
  readonly servername: string;
}

export type HttpFetch = (url: string, request: FetchRequest) => Promise<FetchReply>;

/** The body as a stream that holds nothing: bytes stay in the socket until they are asked for. */
function bodyOf(message: IncomingMessage): ReadableStream<Uint8Array> {
  const iterator = message[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const part = await iterator.next();
        if (part.done === true) controller.close();
        else controller.enqueue(new Uint8Array(part.value as Buffer /* no encoding is set, so chunks are buffers */));
      },
      cancel: () => {
        message.destroy();
      },
    },
    { highWaterMark: 0 },
  );
}

function replyOf(message: IncomingMessage): FetchReply {
  const status = message.statusCode ?? 0;
  return {
    status,
    ok: status >= 200 && status < 300,
    headers: {
      get: (name) => {
        const value = message.headers[name.toLowerCase()];
        return Array.isArray(value) ? value.join(', ') : (value ?? null);
      },
    },
    body: bodyOf(message),
  };
}

/** Each request has a connection of its own, so nothing of an earlier one keeps the program alive or breaks a later one. */
export const httpFetch: HttpFetch = (url, request) => fetchOver(url, request, false);

/** For the connection and its handshake: where packets vanish, the kernel would try for minutes. */
const CONNECT_MS = 5_000;
const IDLE_SOCKETS = 4;
const IDLE_MS = 30_000;

/**
 * For a machine that asks again and again: connections over TLS are kept and used anew, and each new one shows what the party is then.
 * @param party the same object as long as it is the same.
 */
export function createTlsFetch(party: () => TlsParty): HttpFetch {
  let current: { readonly party: TlsParty; readonly agent: Agent } | null = null;
  const agentOf = (now: TlsParty): Agent => {
    if (current?.party === now) return current.agent;
    const { Agent: HttpsAgent } = process.getBuiltinModule('node:https');
    for (const sockets of Object.values(current?.agent.freeSockets ?? {})) for (const socket of sockets ?? []) socket.destroy();
    const agent = new HttpsAgent({ ...now, keepAlive: true, maxFreeSockets: IDLE_SOCKETS, timeout: IDLE_MS, minVersion: 'TLSv1.3' });
    current = { party: now, agent };
    return agent;
  };
  return (url, request) => fetchOver(url, request, agentOf(party()));
}

function fetchOver(url: string, { method, headers, body, signal }: FetchRequest, agent: Agent | false): Promise<FetchReply> {
  const address = new URL(url);
  const { request } = process.getBuiltinModule(address.protocol === 'https:' ? 'node:https' : 'node:http');
  return new Promise((resolve, reject) => {
    // Names below localhost are this machine (RFC 6761 §6.3), which not every resolver knows.
    const lookup = address.hostname.endsWith('.localhost') ? { hostname: '127.0.0.1', servername: address.hostname } : {};
    const call = request(address, {
      method,
      ...lookup,
      headers: { host: address.host, ...headers },
      signal,
      agent,
    });
    call.on('response', (message) => {
      // An abort after the headers breaks the body: whoever reads it learns of it there.
      message.on('error', () => undefined);
      resolve(replyOf(message));
    });
    call.on('error', reject);
    if (agent !== false) {
      call.once('socket', (socket) => {
        if (!socket.connecting) return;
        const cancel = systemClock.timer(CONNECT_MS, () => call.destroy(new Error(`no connection within ${CONNECT_MS / 1000} s`)));
        socket.once('secureConnect', cancel);
        socket.once('close', cancel);
      });
    }
    if (body === null) call.end();
    else if (typeof body === 'string' || body instanceof Uint8Array) call.end(body);
    else {
      process
        .getBuiltinModule('node:stream/promises')
        .pipeline(body, call)
        .catch((error: unknown) => call.destroy(error instanceof Error ? error : new Error(String(error))));
    }
  });
}
