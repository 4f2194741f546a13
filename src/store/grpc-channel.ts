// Calls to one server over gRPC (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md) on one HTTP/2 connection for calls and one
// for streams, which are made when they are needed. A call is sent once; whether it may be sent again is for the caller to say.

import http2 from 'node:http2';
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';

export interface GrpcChannel {
  /** Sends one message, with `FRAME_BYTES` of room in front of it, and resolves with the one that is answered. */
  call(path: string, message: Buffer, headers: GrpcHeaders, signal: AbortSignal): Promise<Buffer>;
  /** Sends one message and gives all that come back, until the signal aborts. Throws too where the server ends it. */
  stream(path: string, message: Buffer, headers: GrpcHeaders, signals: StreamSignals): AsyncIterable<Buffer>;
  /** What is under way is broken off. */
  close(): void;
}

export interface StreamSignals {
  /** Until it has begun. */
  readonly begin: AbortSignal;
  readonly signal: AbortSignal;
}

export type GrpcHeaders = Readonly<Record<string, string>>;

export interface GrpcTls {
  /** PEM. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** The server refused the call, by a code of https://grpc.github.io/grpc/core/md_doc_statuscodes.html. */
export class GrpcRefusal extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** There was no connection: nothing was sent. */
export class NotSent extends Error {}

/** Before each message: whether it is packed, and its length. */
export const FRAME_BYTES = 5;
/** Of one message; a page of a thousand values of the largest size. */
const MESSAGE_BYTES = 512 * 1024 * 1024;
/** What the server may send before it has to wait for us. */
const WINDOW_BYTES = 4 * 1024 * 1024;
/** Megabytes that a connection may hold; beyond that it takes no calls. The callers keep to a bound of their own well below. */
const SESSION_MEGABYTES = 128;
const CONNECT_MS = 3_000;
const HANG_UP_MS = 5_000;
const UNAVAILABLE = 14;

type Use = 'calls' | 'streams';

interface Opened {
  readonly session: ClientHttp2Session;
  readonly stream: ClientHttp2Stream;
  /** Something has come. */
  readonly hear: () => void;
}

interface Connection {
  /** How often something has come on it. */
  heard: number;
  isRetired: boolean;
  /** Calls to come get another one, where it was theirs. */
  readonly over: () => void;
  /** A session that is over waits for the other end to say so too, which one that is stuck never does. */
  hangUp: () => void;
}

/** @param endpoint such as `http://127.0.0.1:2379`. */
export function createGrpcChannel(endpoint: string, tls: GrpcTls): GrpcChannel {
  const sessions = new Map<ClientHttp2Session, Connection>();
  /** Streams have one of their own: an answer would wait behind all that they bring. */
  const current: Record<Use, Promise<ClientHttp2Session> | null> = { calls: null, streams: null };

  let isClosed = false;

  const connect = (use: Use): Promise<ClientHttp2Session> => {
    const connecting = new Promise<ClientHttp2Session>((resolve, reject) => {
      const session = http2.connect(endpoint, {
        ...tls,
        maxSessionMemory: SESSION_MEGABYTES,
        settings: { initialWindowSize: WINDOW_BYTES, enablePush: false },
      });
      const over = (): void => {
        if (current[use] === connecting) current[use] = null;
      };
      const connection: Connection = { heard: 0, isRetired: false, over, hangUp: () => undefined };
      sessions.set(session, connection);
      const timer = setTimeout(() => session.destroy(new Error('the connection does not come about')), CONNECT_MS);
      session.once('connect', (_, socket) => {
        clearTimeout(timer);
        connection.hangUp = () => socket.destroy();
        // It may have been let go of while it was on its way.
        if (session.destroyed) return;
        session.setLocalWindowSize(WINDOW_BYTES);
        resolve(session);
      });
      session.on('error', (error) => reject(new NotSent(error.message, { cause: error })));
      session.on('goaway', over);
      session.on('close', () => {
        clearTimeout(timer);
        sessions.delete(session);
        over();
        reject(new NotSent('the connection was closed'));
      });
    });
    return connecting;
  };

  /** The connection for calls to come is another one; what is under way on this one may still end. */
  const retire = (session: ClientHttp2Session): void => {
    const connection = sessions.get(session);
    // Many calls may be late on it at once.
    if (connection === undefined || connection.isRetired) return;
    connection.isRetired = true;
    connection.over();
    session.close();
    const look = setInterval(() => {
      if (session.destroyed) connection.hangUp();
    }, HANG_UP_MS).unref();
    session.once('close', () => clearInterval(look));
  };

  const open = async (use: Use, path: string, headers: GrpcHeaders, signal: AbortSignal): Promise<Opened> => {
    // No connection is made that nobody would close.
    if (isClosed || signal.aborted) throw new NotSent('nobody waits for it any more');
    const session = await inTime((current[use] ??= connect(use)), signal);
    try {
      const always = { ':method': 'POST', ':path': `/${path}`, 'content-type': 'application/grpc', te: 'trailers' };
      const stream = session.request({ ...always, ...headers });
      const connection = sessions.get(session);
      const hear = (): void => {
        if (connection !== undefined) connection.heard += 1;
      };
      stream.on('response', hear);
      return { session, stream, hear };
    } catch (error) {
      throw new NotSent(error instanceof Error ? error.message : 'the connection takes no more calls', { cause: error });
    }
  };

  return {
    call: async (path, message, headers, signal) => {
      const { session, stream, hear } = await open('calls', path, headers, signal);
      return await new Promise<Buffer>((resolve, reject) => {
        const heard = sessions.get(session)?.heard;
        let isOver = false;
        const giveUp = (): void => {
          if (isOver) return;
          // Whoever has answered nothing meanwhile may answer nothing at all.
          if (sessions.get(session)?.heard === heard) retire(session);
          stream.close(http2.constants.NGHTTP2_CANCEL);
          reject(signal.reason);
        };
        // Where it was us who had no time, the answer is there already: it is read first.
        const onAbort = (): void => void setImmediate(giveUp);
        signal.addEventListener('abort', onAbort, { once: true });
        const ending = endOf(stream);
        const frames = createFrames();
        let answer: Buffer | null = null;
        stream.on('data', (chunk: Buffer) => {
          hear();
          try {
            for (const frame of frames(chunk)) answer ??= frame;
          } catch (error) {
            stream.destroy(error instanceof Error ? error : undefined);
          }
        });
        stream.on('error', reject);
        stream.on('close', () => {
          isOver = true;
          signal.removeEventListener('abort', onAbort);
          const refusal = ending();
          if (refusal !== null) reject(refusal);
          else if (answer === null) reject(new Error('the call was answered with nothing'));
          else resolve(answer);
        });
        frame(message);
        stream.end(message);
        if (signal.aborted) onAbort();
      });
    },
    stream: async function* (path, message, headers, { begin, signal }) {
      const { session, stream, hear } = await open('streams', path, headers, AbortSignal.any([begin, signal]));
      const cancel = (): void => stream.close(http2.constants.NGHTTP2_CANCEL);
      const late = (): void => {
        retire(session);
        stream.destroy(new Error('the stream does not begin'));
      };
      signal.addEventListener('abort', cancel, { once: true });
      begin.addEventListener('abort', late, { once: true });
      stream.once('response', () => begin.removeEventListener('abort', late));
      const ending = endOf(stream);
      const frames = createFrames();
      try {
        frame(message);
        stream.write(message);
        if (signal.aborted) cancel();
        if (begin.aborted) late();
        for await (const chunk of stream) {
          hear();
          yield* frames(chunk);
        }
        if (!signal.aborted) throw ending() ?? new GrpcRefusal(UNAVAILABLE, 'the stream has ended');
      } finally {
        begin.removeEventListener('abort', late);
        signal.removeEventListener('abort', cancel);
        cancel();
      }
    },
    close: () => {
      isClosed = true;
      for (const [session, { hangUp }] of sessions) {
        session.destroy();
        hangUp();
      }
    },
  };
}

/** The connection, unless the time is over before it is there. */
async function inTime(connecting: Promise<ClientHttp2Session>, signal: AbortSignal): Promise<ClientHttp2Session> {
  return await new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new NotSent('the connection does not come about in time', { cause: signal.reason }));
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    connecting.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

function frame(message: Buffer): void {
  message[0] = 0;
  message.writeUInt32BE(message.length - FRAME_BYTES, 1);
}

/** How it ended, once it is over: null for well. */
function endOf(stream: ClientHttp2Stream): () => Error | null {
  let head: IncomingHttpHeaders = {};
  let tail: IncomingHttpHeaders = {};
  stream.on('response', (headers) => (head = headers));
  stream.on('trailers', (headers) => (tail = headers));
  return () => {
    // A refusal without an answer has all in its head.
    const status = tail['grpc-status'] ?? head['grpc-status'];
    if (status === '0') return null;
    const words = tail['grpc-message'] ?? head['grpc-message'];
    if (typeof status === 'string') return new GrpcRefusal(Number(status), unescaped(String(words ?? '')));
    const http = String(head[':status'] ?? '200');
    return new GrpcRefusal(UNAVAILABLE, http === '200' ? 'the connection broke' : `HTTP ${http}`);
  };
}

/** Texts of a status are percent-encoded. */
function unescaped(words: string): string {
  try {
    return decodeURIComponent(words);
  } catch {
    return words;
  }
}

/** Cuts what comes into messages. */
function createFrames(): (chunk: Buffer) => Iterable<Buffer> {
  let pieces: Buffer[] = [];
  let have = 0;
  let need = FRAME_BYTES;
  const gathered = (): Buffer => {
    const all = pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces, have);
    pieces = [all];
    return all;
  };
  return function* (chunk) {
    pieces.push(chunk);
    have += chunk.length;
    while (have >= need) {
      const all = gathered();
      const length = all.readUInt32BE(1);
      if (all[0] !== 0) throw new Error('a message is packed, though nobody asked for it');
      if (length > MESSAGE_BYTES) throw new Error(`a message of ${length} bytes is too long`);
      need = FRAME_BYTES + length;
      if (have < need) return;
      yield all.subarray(FRAME_BYTES, need);
      pieces = [all.subarray(need)];
      have -= need;
      need = FRAME_BYTES;
    }
  };
}
