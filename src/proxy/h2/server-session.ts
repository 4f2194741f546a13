// One connection of a client that speaks HTTP/2 (RFC 9113): its streams are exchanges. node:http2 frames; what a client may cost beside
// its requests is bounded here: streams, resets, and bytes that belong to no message (pings, settings, window updates, empty frames).

import { constants, performServerHandshake } from 'node:http2';
import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import type { ClientConnection, ClientConnectionDeps } from '../client-connection.ts';
import type { DeadlineEntry, Deadlines } from '../deadlines.ts';
import type { ConnectionFacts, RequestHead } from '../message.ts';
import { readRequestHead } from './request-head.ts';
import type { RefusedHead } from './request-head.ts';
import { ServerStream } from './server-stream.ts';
import type { StreamOwner } from './server-stream.ts';

const { NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_NO_ERROR } = constants;

/** What a client may send on one stream, and on all, before it is read. A stopped stream must not stop the others. */
const STREAM_WINDOW = 128 * 1024;
const CONNECTION_WINDOW = 1024 * 1024;
const STREAMS = 128;
const FIELDS = 128;
/** Of the library for one connection, beyond which it refuses streams: what all may have on its way, and then some. */
const MEMORY_MIB = 32;
/** Streams that a client may take back: at once, and each second after that (CVE-2023-44487). */
const RESET_BURST = STREAMS;
const RESETS_PER_S = 50;
/** Behind so many, a stream begins a turn later: what is taken back at once then costs little. */
const RESETS = 16;
/** Bytes that belong to no message: at once, and each second after that. 16 KiB are 960 pings. */
const OVERHEAD_BURST = 16 * 1024;
const OVERHEAD_PER_S = 4 * 1024;
/** Pieces of bodies between two looks at what they cost. */
const PIECES = 1_024;
/** A header block beside its names and values: frame, indices, and what a priority costs. */
const HEADER_BYTES = 64;
/** After our end of the connection: so long for the client's. */
const LINGER_MS = 2_000;
/** The highest stream there can be: whoever is told it may still begin streams, and knows that it shall not. */
const LAST_STREAM = 2 ** 31 - 1;

export interface ServerSessionDeps extends ClientConnectionDeps {
  /** Calls each session a few times a second: what a flood costs until then is what it may cost. */
  readonly ticks: Deadlines;
  /** A connection from there is ended for what it costs. */
  readonly onCostly: (address: string) => void;
}

export class ServerSession implements ClientConnection, DeadlineEntry, StreamOwner {
  readonly socket: Socket;
  readonly facts: ConnectionFacts;
  readonly #deps: ServerSessionDeps;
  readonly #session: ServerHttp2Session;
  deadlineMs = 0;
  deadlineSlot = -1;
  idleSinceMs: number;
  #streams = 0;
  #served = 0;
  #ending = false;
  /** Monotonic; with it the connection ends although something is still open. */
  #endMs = Infinity;
  /** Streams that the client took back. */
  #resets = 0;
  #judgedMs: number;
  #pieces = 0;
  /** Bytes of messages since the last look, and all bytes until then. */
  #useful = 0;
  #bytesRead = 0;
  #bytesWritten = 0;
  #overheadLeft = OVERHEAD_BURST;

  /** @param socket connected, and behind its TLS handshake where it has one; nothing of it was read, or it was put back. */
  constructor(socket: Socket, facts: ConnectionFacts, deps: ServerSessionDeps) {
    this.socket = socket;
    this.facts = facts;
    this.#deps = deps;
    this.idleSinceMs = deps.ticks.now();
    this.#judgedMs = this.idleSinceMs;
    const session = performServerHandshake(socket, {
      maxHeaderListPairs: FIELDS + 5,
      maxSettings: 32,
      maxSessionMemory: MEMORY_MIB,
      maxSessionRejectedStreams: 100,
      maxSessionInvalidFrames: 100,
      streamResetBurst: RESET_BURST,
      streamResetRate: RESETS_PER_S,
      strictSingleValueFields: false,
      settings: {
        enableConnectProtocol: true,
        enablePush: false,
        maxConcurrentStreams: STREAMS,
        initialWindowSize: STREAM_WINDOW,
        maxHeaderListSize: deps.limits.headerBytes,
      },
    });
    this.#session = session;
    // The library takes what was put back piece by piece, and goes on after a piece that has ended the session: with an exception.
    if (socket.readableLength > 0) {
      const read = socket.read.bind(socket);
      socket.read = (size) => (session.destroyed ? null : read(size));
    }
    session.setLocalWindowSize(CONNECTION_WINDOW);
    session.on('stream', (stream: ServerHttp2Stream, _headers: unknown, _flags: number, raw: string[]) => this.#onStream(stream, raw));
    session.on('error', (error: NodeJS.ErrnoException) => {
      // Not of the connection below: the client broke the protocol or one of the bounds above.
      if (error.code?.startsWith('ERR_HTTP2') === true) deps.onCostly(facts.address);
    });
    session.on('close', () => this.#onClose());
    socket.on('error', () => undefined);
    // HTTP/2 knows no connection of which one side is over.
    socket.on('end', () => session.destroy());
    this.#wait();
  }

  get idle(): boolean {
    return this.#streams === 0;
  }

  goAway(): void {
    if (!this.#session.destroyed) this.#session.goaway(NGHTTP2_NO_ERROR, LAST_STREAM);
  }

  leave(): void {
    this.#end();
  }

  date(): string {
    return this.#deps.date();
  }

  received(bytes: number): void {
    this.#useful += bytes;
    this.#pieces += 1;
    if (this.#pieces % PIECES === 0) this.#judge(0);
  }

  closed(reset: boolean): void {
    this.#streams -= 1;
    if (reset) this.#resets += 1;
    if (this.#streams > 0) return;
    this.idleSinceMs = this.#deps.ticks.now();
    if (this.#ending) this.#endMs = Math.min(this.#endMs, this.idleSinceMs + LINGER_MS);
  }

  #onStream(stream: ServerHttp2Stream, raw: readonly string[]): void {
    this.#served += 1;
    const read = readRequestHead(raw, stream.endAfterHeaders);
    if (read.type === 'refused') {
      this.#useful += HEADER_BYTES;
      this.#refuse(stream, read);
      return;
    }
    this.#useful += read.bytes + HEADER_BYTES;
    if (this.#resets < RESETS) return this.#begin(stream, read.head);
    stream.on('error', () => undefined);
    setImmediate(() => {
      if (!stream.closed && !stream.destroyed) this.#begin(stream, read.head);
    });
  }

  #begin(stream: ServerHttp2Stream, head: RequestHead): void {
    this.#streams += 1;
    this.#deps.onExchange(new ServerStream(this, stream, head));
  }

  #refuse(stream: ServerHttp2Stream, { status, why }: RefusedHead): void {
    this.#deps.onRefused(status, why, this.facts.address);
    stream.on('error', () => undefined);
    stream.respond([':status', String(status), 'content-type', 'text/plain; charset=utf-8', 'cache-control', 'no-store']);
    stream.end(`The request cannot be understood: ${why}.\n`, () => stream.close(NGHTTP2_NO_ERROR));
  }

  #wait(): void {
    // With the next sweep, and not again in this one.
    this.deadlineMs = this.#deps.ticks.now() + 1;
    this.#deps.ticks.add(this);
  }

  onDeadline(): void {
    if (this.#session.destroyed) return;
    const { limits, ticks } = this.#deps;
    const nowMs = ticks.now();
    if (nowMs >= this.#endMs) {
      this.#session.destroy();
      return;
    }
    const sinceMs = nowMs - this.#judgedMs;
    this.#judgedMs = nowMs;
    if (!this.#judge((OVERHEAD_PER_S * sinceMs) / 1_000)) return;
    const idleMs = this.#served === 0 ? limits.headerTimeoutMs : limits.clientIdleMs;
    if (this.#streams === 0 && nowMs - this.idleSinceMs >= idleMs) this.#end();
    this.#wait();
  }

  /** False, and the end of the connection, where more came beside messages than there is leave for. What is sent asks for window updates. */
  #judge(refillBytes: number): boolean {
    if (this.#session.destroyed) return false;
    const { bytesRead, bytesWritten } = this.socket;
    const allowed = this.#useful * 3 + (bytesWritten - this.#bytesWritten) / 16;
    const overhead = bytesRead - this.#bytesRead - allowed;
    this.#bytesRead = bytesRead;
    this.#bytesWritten = bytesWritten;
    this.#useful = 0;
    this.#overheadLeft = Math.min(OVERHEAD_BURST, this.#overheadLeft + refillBytes - Math.max(0, overhead));
    if (this.#overheadLeft >= 0) return true;
    this.#deps.onRefused(400, 'an HTTP/2 client sends more around its messages than in them', this.facts.address);
    this.#deps.onCostly(this.facts.address);
    this.#session.destroy(undefined, NGHTTP2_ENHANCE_YOUR_CALM);
    return false;
  }

  /** Says that it is over, and waits for what is open and for the client to hear it. */
  #end(): void {
    if (this.#ending) return;
    this.#ending = true;
    if (this.#streams === 0) this.#endMs = this.#deps.ticks.now() + LINGER_MS;
    this.#session.close();
  }

  #onClose(): void {
    this.#deps.ticks.delete(this);
    this.socket.destroy();
  }
}
