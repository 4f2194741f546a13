// The agent's link to control over HTTP: the typed client for everything but calls, which get a WebSocket each.

import { Readable } from 'node:stream';
import type { AgentLink, CallSocket } from './link.ts';
import { socketUrl } from '../api/client.ts';
import type { Client } from '../api/client.ts';
import type { ApiTable } from '../api/table.ts';
import { agent } from '../api/agent.ts';
import { Failure } from '../lib/failure.ts';
import type { TlsParty } from '../sys/http-fetch.ts';

export interface HttpLinkOptions {
  readonly client: Client<Pick<ApiTable, 'agent' | 'blobs'>>;
  /** Address of the API, such as `http://127.0.0.1:7400`, as it is then. */
  readonly url: () => string;
  readonly token: () => string | null | Promise<string | null>;
  /** What is shown and asked for over TLS; absent: as the machine does. */
  readonly tls?: () => TlsParty;
}

/** Silence after which a transfer is given up; it is gone on with from where it stopped. */
const TRANSFER_SILENCE_MS = 60_000;
const SOCKET_DEADLINE_MS = 10_000;
const MAX_FRAME_BYTES = 1024 * 1024;
const MAX_QUEUED_FRAMES = 256;

export function createHttpLink(options: HttpLinkOptions): AgentLink {
  const { client } = options;
  return {
    sync: (signal) => client.agent.sync({ signal, giveUpAfterMs: 0 }),
    report: async (body, signal) => {
      await client.agent.report({ body, signal });
    },
    fetchBlob: async (digest, startByte, signal) => {
      const range = startByte === 0 ? undefined : { start: startByte };
      const reply = await client.blobs.download({ params: { digest }, range, signal, timeoutMs: TRANSFER_SILENCE_MS });
      return Readable.from(reply.body);
    },
    uploadBlob: async (digest, open, signal) => {
      const status = await client.blobs.stat({ params: { digest }, signal });
      if (status.complete) return;
      await client.blobs.upload({
        params: { digest },
        query: { offset: status.offset, final: true },
        body: open(status.offset),
        signal,
        timeoutMs: TRANSFER_SILENCE_MS,
      });
    },
    openCall: async (callId, signal) =>
      openSocket(socketUrl(options.url(), agent.call, { params: { call: callId } }), await options.token(), options.tls?.() ?? {}, signal),
  };
}

async function openSocket(url: string, token: string | null, tls: Partial<TlsParty>, signal: AbortSignal): Promise<CallSocket> {
  const { WebSocket } = await import('ws');
  const headers = token === null ? {} : { authorization: `Bearer ${token}` };
  const socket = new WebSocket(url, {
    ...tls,
    headers,
    handshakeTimeout: SOCKET_DEADLINE_MS,
    maxPayload: MAX_FRAME_BYTES,
    perMessageDeflate: false,
  });
  const onAbort = (): void => socket.terminate();
  signal.addEventListener('abort', onAbort, { once: true });
  const queue: Uint8Array[] = [];
  let closed = false;
  let wake = (): void => undefined;
  socket.on('message', (data: Buffer | ArrayBuffer | Buffer[]) => {
    queue.push(Array.isArray(data) ? Buffer.concat(data) : new Uint8Array(data));
    if (queue.length >= MAX_QUEUED_FRAMES) socket.pause();
    wake();
  });
  const opened = new Promise<void>((resolve, reject) => {
    socket.once('open', () => resolve());
    socket.on('error', (cause) => {
      reject(new Failure('unreachable', { message: `The socket of a call cannot be opened: ${cause.message}`, cause }));
    });
    socket.once('close', () => {
      closed = true;
      signal.removeEventListener('abort', onAbort);
      reject(new Failure('unreachable', { message: 'The socket of a call was closed before it was open.' }));
      wake();
    });
  });
  await opened;
  return {
    send: (bytes) =>
      new Promise((resolve, reject) => {
        socket.send(bytes, { binary: true }, (error) => {
          if (error === undefined || error === null) resolve();
          else reject(new Failure('unreachable', { message: 'The other side of the call has gone.', cause: error }));
        });
      }),
    frames: (async function* frames(): AsyncGenerator<Uint8Array> {
      for (;;) {
        const next = queue.shift();
        if (next !== undefined) {
          if (socket.isPaused) socket.resume();
          yield next;
        } else if (closed) {
          return;
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    })(),
    close: () =>
      new Promise((resolve) => {
        if (closed) return resolve();
        const force = setTimeout(() => socket.terminate(), 2000);
        socket.once('close', () => {
          clearTimeout(force);
          resolve();
        });
        socket.close();
      }),
  };
}
