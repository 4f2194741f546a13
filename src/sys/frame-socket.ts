// A WebSocket as frames with back-pressure both ways: what nobody reads is not taken from the network, and a send takes as long as the
// other side makes it.

import type { IncomingMessage } from 'node:http';
import { Failure } from '../lib/failure.ts';
import type { TlsParty } from './http-fetch.ts';

const SOCKET_DEADLINE_MS = 10_000;
const MAX_FRAME_BYTES = 1024 * 1024;
const MAX_QUEUED_FRAMES = 256;

export interface FrameSocket {
  /** Resolves when the frame has left or the buffer has room again; rejects when the socket has gone. */
  send(frame: Uint8Array): Promise<void>;
  /** Frames from the other side; ends when it closes. */
  readonly frames: AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

export interface FrameSocketOptions {
  readonly token: string | null;
  readonly tls?: Partial<TlsParty>;
  /** Cuts it off, also when it is open. */
  readonly signal: AbortSignal;
  /** What an answer means that is no WebSocket. */
  readonly refused?: (response: IncomingMessage) => Promise<Failure>;
}

/** Rejects with `unreachable`, or with what the refusal is told as. */
export async function openFrameSocket(url: string, { token, tls = {}, signal, refused }: FrameSocketOptions): Promise<FrameSocket> {
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
  let isLeft = false;
  let wake = (): void => undefined;
  socket.on('message', (data: Buffer | ArrayBuffer | Buffer[]) => {
    if (isLeft) return;
    queue.push(Array.isArray(data) ? Buffer.concat(data) : new Uint8Array(data));
    if (queue.length >= MAX_QUEUED_FRAMES) socket.pause();
    wake();
  });
  const opened = new Promise<void>((resolve, reject) => {
    socket.once('open', () => resolve());
    if (refused !== undefined)
      socket.once('unexpected-response', (_request, response) => {
        refused(response)
          .then(reject, reject)
          .finally(() => socket.terminate());
      });
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
  if (signal.aborted) onAbort();
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
        // The other side's goodbye may stand behind what nobody reads any more.
        isLeft = true;
        socket.resume();
        const force = setTimeout(() => socket.terminate(), 2000);
        socket.once('close', () => {
          clearTimeout(force);
          resolve();
        });
        socket.close();
      }),
  };
}
