// One connection to a target that speaks HTTP/1.1: one request at a time. It may be used again only when request and answer were whole
// and nothing stands behind them; anything that comes unasked ends it.

import type { Socket } from 'node:net';
import { messageOf } from '../../lib/failure.ts';
import type { Reader } from '../../sys/reader.ts';
import { resetSocket } from '../../sys/reset-socket.ts';
import type { Fields } from '../fields.ts';
import type { UpstreamObserver, UpstreamRequest, UpstreamStream } from '../message.ts';
import { UNKNOWN_LENGTH } from '../message.ts';
import { parseAnswerHead } from './answer-head.ts';
import type { ParsedAnswer } from './answer-head.ts';
import { ChunkedReader } from './chunked.ts';
import { headEnd } from './head-end.ts';
import { Output } from './output.ts';
import { webSocketAccept, webSocketKey } from '../websocket-key.ts';
import { lastChunkText, requestHeadText } from './write.ts';

export interface UpstreamOwner {
  /** The connection can serve another request. */
  onFree(connection: UpstreamConnection): void;
  /** The connection has ended, whatever the reason. */
  onClosed(connection: UpstreamConnection): void;
}

const MAX_INFORMATIONAL = 32;

type Phase = 'idle' | 'head' | 'length' | 'chunked' | 'close' | 'tunnel' | 'closed';

export class UpstreamConnection implements UpstreamStream {
  readonly socket: Socket;
  /** Monotonic; since when nobody uses it. */
  idleSinceMs = 0;
  readonly #owner: UpstreamOwner;
  readonly #output: Output;
  readonly #headBytes: number;
  readonly #writeBytes: number;
  #observer: UpstreamObserver | null = null;
  #phase: Phase = 'idle';
  #method = '';
  #upgrade = false;
  /** That we made for a client whose protocol has none. */
  #key = '';
  #served = 0;
  #requestSent = false;
  #chunkedRequest = false;
  #sentAnything = false;
  /** Of the output, when the request was given to it. */
  #writesBefore = 0;
  #held: Buffer | null = null;
  #left = 0;
  #chunked: ChunkedReader | null = null;
  #keepAlive = true;
  #informational = 0;
  #problem: Error | null = null;
  #ended = false;

  /** @param reader gets what comes on the socket. */
  constructor(socket: Socket, reader: Reader, owner: UpstreamOwner, limits: { readonly headerBytes: number; readonly writeBytes: number }) {
    this.socket = socket;
    this.#owner = owner;
    this.#headBytes = limits.headerBytes * 2;
    this.#writeBytes = limits.writeBytes;
    this.#output = new Output(socket);
    reader.onRead = (bytes) => this.#onData(bytes);
    // Without a reader of its end the socket would not tell it.
    socket.resume();
    socket.on('drain', () => this.#observer?.onUpstreamDrain());
    socket.on('end', () => this.#onEnd());
    socket.on('error', (error) => {
      this.#problem = error;
    });
    socket.on('close', () => this.#onClose());
  }

  /** Begins to serve an exchange. */
  use(observer: UpstreamObserver): void {
    this.#observer = observer;
    this.#phase = 'head';
    this.#requestSent = false;
    this.#sentAnything = false;
    this.#keepAlive = true;
    this.#informational = 0;
  }

  get usable(): boolean {
    return this.#phase === 'idle' && !this.socket.destroyed && !this.#ended;
  }

  sendHead(request: UpstreamRequest): void {
    this.#method = request.method;
    this.#upgrade = request.upgrade !== null;
    this.#chunkedRequest = request.length === UNKNOWN_LENGTH;
    this.#sentAnything = true;
    this.#writesBefore = this.#output.writes;
    this.#key = this.#upgrade && !request.fields.has('sec-websocket-key') ? webSocketKey() : '';
    this.#output.text(requestHeadText(request, this.#key));
    if (request.length !== 0) return;
    this.#requestSent = true;
    this.#output.flushSoon();
  }

  sendData(chunk: Buffer): boolean {
    if (this.#phase === 'closed' || chunk.length === 0) return true;
    if (this.#chunkedRequest && this.#phase !== 'tunnel') {
      this.#output.text(`${chunk.length.toString(16)}\r\n`);
      this.#output.piece(chunk);
      this.#output.text('\r\n');
    } else this.#output.piece(chunk);
    return this.#output.unsent < this.#writeBytes || this.#output.flush();
  }

  sendEnd(trailers: Fields | null): void {
    if (this.#phase === 'closed') return;
    if (this.#phase === 'tunnel') {
      this.#output.flush();
      this.socket.end();
      return;
    }
    if (this.#requestSent) return;
    this.#requestSent = true;
    if (this.#chunkedRequest) this.#output.text(lastChunkText(trailers));
    this.#output.flush();
  }

  flush(): void {
    if (this.#phase !== 'closed' && this.#output.waiting) this.#output.flushSoon();
  }

  readAnswer(wanted: boolean): void {
    if (wanted) this.socket.resume();
    else this.socket.pause();
  }

  abort(): void {
    // A target must not take a part of a request for the whole: some do when the connection merely ends.
    const partly = this.#sentAnything && !this.#requestSent && this.#phase !== 'idle';
    this.#observer = null;
    this.#phase = 'closed';
    if (partly && !this.socket.destroyed && !('encrypted' in this.socket)) resetSocket(this.socket);
    else this.socket.destroy();
  }

  #onData(chunk: Buffer): void {
    if (this.#phase === 'head' && this.#output.writes === this.#writesBefore) return this.#answeredUnasked();
    const held = this.#held;
    this.#held = null;
    const data = held === null ? chunk : Buffer.concat([held, chunk]);
    let at = 0;
    while (at < data.length) {
      if (this.#phase === 'head') {
        const next = this.#takeHead(data, at);
        if (next === -1) break;
        at = next;
      } else at = this.#takeBody(data, at);
    }
    this.#observer?.onUpstreamPause();
  }

  #takeHead(data: Buffer, at: number): number {
    const end = headEnd(data, at);
    if (end === -1 || end + 4 - at > this.#headBytes) {
      if (data.length - at > this.#headBytes) this.#invalid(`the head of the answer is longer than ${this.#headBytes} bytes`);
      else this.#held = Buffer.from(data.subarray(at));
      return -1;
    }
    const parsed = parseAnswerHead(data.toString('latin1', at, end + 4), this.#method);
    if (parsed.type === 'invalid') {
      this.#invalid(parsed.why);
      return -1;
    }
    if (parsed.head.status < 200) this.#takeInformational(parsed);
    else this.#takeFinal(parsed);
    return end + 4;
  }

  #takeInformational({ head, upgrade }: ParsedAnswer): void {
    if (head.status === 101) {
      if (!this.#upgrade) this.#invalid('the target answered 101 to a request without an upgrade');
      else if (upgrade !== 'websocket') this.#invalid('the target switched to another protocol than websocket');
      else if (this.#key !== '' && head.fields.get('sec-websocket-accept') !== webSocketAccept(this.#key))
        this.#invalid('the target accepted a WebSocket with another key than it was given');
      else {
        this.#phase = 'tunnel';
        this.#keepAlive = false;
        this.#observer?.onUpstreamHead(head);
      }
      return;
    }
    this.#informational += 1;
    if (this.#informational > MAX_INFORMATIONAL) this.#invalid(`there are more than ${MAX_INFORMATIONAL} informational answers`);
    else if (head.status === 100) this.#observer?.onUpstreamContinue();
    else this.#observer?.onUpstreamInformational(head.status, head.fields);
  }

  #takeFinal({ head, body, keepAlive }: ParsedAnswer): void {
    this.#keepAlive = keepAlive && !this.#upgrade;
    switch (body) {
      case 'none':
        this.#observer?.onUpstreamHead(head);
        this.#whole(null);
        return;
      case 'length':
        this.#left = head.length;
        this.#phase = 'length';
        break;
      case 'chunked':
        this.#chunked = new ChunkedReader();
        this.#phase = 'chunked';
        break;
      case 'close':
        this.#phase = 'close';
        break;
    }
    this.#observer?.onUpstreamHead(head);
  }

  #takeBody(data: Buffer, at: number): number {
    switch (this.#phase) {
      case 'length': {
        const taken = Math.min(this.#left, data.length - at);
        this.#left -= taken;
        this.#observer?.onUpstreamData(data.subarray(at, at + taken));
        if (this.#left === 0) this.#whole(null);
        return at + taken;
      }
      case 'chunked': {
        const chunked = this.#chunked;
        if (chunked === null) return data.length;
        const next = chunked.push(data, at);
        if (chunked.pieceTo > chunked.pieceFrom) this.#observer?.onUpstreamData(data.subarray(chunked.pieceFrom, chunked.pieceTo));
        if (chunked.why !== null) this.#invalid(chunked.why);
        else if (chunked.done) {
          this.#chunked = null;
          this.#whole(chunked.trailers);
        }
        return next;
      }
      case 'close':
      case 'tunnel':
        this.#observer?.onUpstreamData(data.subarray(at));
        return data.length;
      case 'idle':
        // Nobody asked for this: whoever came next would take it for an answer.
        this.abort();
        return data.length;
      case 'head':
      case 'closed':
        return data.length;
    }
  }

  /** The answer is whole. */
  #whole(trailers: Fields | null): void {
    const observer = this.#observer;
    // The observer may have given the exchange up meanwhile.
    if (this.#phase === 'closed') return;
    this.#observer = null;
    this.#phase = 'idle';
    this.#served += 1;
    const free = this.#keepAlive && this.#requestSent && !this.#ended;
    if (!free) this.abort();
    // Its last piece may have been one too many for its client: whoever comes next shall be read for.
    else if (this.socket.isPaused()) this.socket.resume();
    observer?.onUpstreamEnd(trailers);
    if (free && this.#phase === 'idle') this.#owner.onFree(this);
  }

  #invalid(message: string): void {
    this.#fail('invalid', message);
    this.abort();
  }

  /** The request has not left: whatever this is, it is no answer to it. */
  #answeredUnasked(): void {
    this.#sentAnything = false;
    this.#fail('reset', 'the target sent an answer before it was asked');
    this.abort();
  }

  #fail(kind: 'reset' | 'invalid', message: string): void {
    const observer = this.#observer;
    this.#observer = null;
    this.#phase = 'closed';
    observer?.onUpstreamFailed({ kind, sent: this.#sentAnything, reused: this.#served > 0, message });
  }

  #onEnd(): void {
    this.#ended = true;
    if (this.#phase === 'close') {
      this.#keepAlive = false;
      this.#whole(null);
    } else if (this.#phase === 'tunnel') this.#observer?.onUpstreamEnd(null);
    else if (this.#phase !== 'closed') {
      if (this.#observer !== null) this.#fail('reset', 'the target closed the connection before its answer was whole');
      this.abort();
    }
  }

  #onClose(): void {
    // A reset in the middle of an answer that ends with its connection is no end.
    if (this.#observer !== null)
      this.#fail('reset', this.#problem === null ? 'the target closed the connection' : messageOf(this.#problem));
    this.#phase = 'closed';
    this.#owner.onClosed(this);
  }
}
