// One exchange on a connection to a target that speaks HTTP/2. A request that is given up is reset, so that no target takes a part of it
// for the whole; an answer counts as whole only by its END_STREAM.

import { constants } from 'node:http2';
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { fieldName } from '../fields.ts';
import type { Fields } from '../fields.ts';
import type { AnswerHead, UpstreamObserver, UpstreamRequest, UpstreamStream } from '../message.ts';
import { UNKNOWN_LENGTH } from '../message.ts';
import { webSocketAccept } from '../websocket-key.ts';
import { readAnswerHead } from './answer-head.ts';
import { BROKEN_OFF, fieldObject, pushFields, trailersOf } from './library.ts';

const { NGHTTP2_CANCEL, NGHTTP2_REFUSED_STREAM } = constants;
const END_STREAM = 1;
const MAX_INFORMATIONAL = 32;

export interface TargetStreamOwner {
  readonly session: ClientHttp2Session;
  /** Another exchange has been on this connection before. */
  readonly reused: boolean;
  /** The stream is over and its place is free. */
  onClosed(): void;
}

export class TargetStream implements UpstreamStream {
  readonly #owner: TargetStreamOwner;
  #observer: UpstreamObserver | null;
  #stream: ClientHttp2Stream | null = null;
  #request: UpstreamRequest | null = null;
  #trailers: Fields | null = null;
  #requestEnded = false;
  #waitsForDrain = false;
  #informational = 0;
  #answered = false;
  #tunnel = false;
  #left = UNKNOWN_LENGTH;
  /** END_STREAM has come. */
  #endStream = false;
  #answerTrailers: Fields | null = null;
  #pausing = false;

  constructor(owner: TargetStreamOwner, observer: UpstreamObserver) {
    this.#owner = owner;
    this.#observer = observer;
  }

  sendHead(request: UpstreamRequest): void {
    this.#request = request;
    const { session } = this.#owner;
    const webSocket = request.upgrade !== null;
    if (session.destroyed || session.closed) return this.#failSoon('refused', 'the connection to the target has ended');
    if (webSocket && session.remoteSettings.enableConnectProtocol !== true)
      return this.#failSoon('invalid', 'the target takes no WebSockets over HTTP/2 (RFC 8441)');
    const bodiless = request.length === 0 && !webSocket;
    this.#requestEnded = bodiless;
    try {
      const stream = session.request(headOf(request), {
        endStream: bodiless,
        waitForTrailers: request.length === UNKNOWN_LENGTH && !webSocket,
      });
      this.#stream = stream;
      this.#listen(stream);
    } catch (error) {
      this.#failSoon('invalid', error instanceof Error ? error.message : String(error));
    }
  }

  #listen(stream: ClientHttp2Stream): void {
    // The library ends a stream that was reset without an error as it ends a whole one; only here do the two differ.
    const push = stream.push.bind(stream);
    stream.push = (chunk, encoding) => {
      if (chunk === null && !stream.closed) this.#endStream = true;
      return push(chunk, encoding);
    };
    stream.on('response', (_headers, flags: number, raw: string[] = []) => this.#onHead(raw, flags));
    // Every informational answer; 100 too.
    stream.on('headers', (_headers, _flags, raw: string[] = []) => this.#onInformational(raw));
    stream.on('trailers', (_headers, _flags, raw: string[] = []) => {
      this.#answerTrailers = trailersOf(raw);
    });
    stream.on('wantTrailers', () => stream.sendTrailers(this.#trailers === null ? {} : fieldObject(this.#trailers)));
    // The close event follows and does the rest.
    stream.on('error', () => undefined);
    stream.on('close', () => this.#onClose(stream));
  }

  sendData(chunk: Buffer): boolean {
    const stream = this.#stream;
    if (stream === null || chunk.length === 0 || stream.closed || stream.destroyed || stream.writableEnded) return true;
    if (stream.write(chunk)) return true;
    if (!this.#waitsForDrain) {
      this.#waitsForDrain = true;
      stream.once('drain', () => {
        this.#waitsForDrain = false;
        this.#observer?.onUpstreamDrain();
      });
    }
    return false;
  }

  sendEnd(trailers: Fields | null): void {
    if (this.#requestEnded) return;
    this.#requestEnded = true;
    this.#trailers = trailers;
    this.#stream?.end();
  }

  /** The library sends what there is once per turn of the event loop. */
  flush(): void {
    // Nothing is held back here.
  }

  readAnswer(wanted: boolean): void {
    if (wanted) this.#stream?.resume();
    else this.#stream?.pause();
  }

  abort(): void {
    this.#observer = null;
    this.#reset();
    if (this.#stream === null) this.#owner.onClosed();
  }

  #reset(): void {
    const stream = this.#stream;
    if (stream === null || stream.destroyed) return;
    if (this.#requestEnded) stream.close(NGHTTP2_CANCEL);
    else stream.destroy(BROKEN_OFF);
  }

  #onInformational(raw: readonly string[]): void {
    const head = readAnswerHead(raw, false, true);
    if (head === null) return this.#fail('invalid', 'an informational answer is not valid HTTP/2');
    this.#informational += 1;
    if (this.#informational > MAX_INFORMATIONAL)
      return this.#fail('invalid', `there are more than ${MAX_INFORMATIONAL} informational answers`);
    if (head.status === 100) this.#observer?.onUpstreamContinue();
    else if (head.status !== 101) this.#observer?.onUpstreamInformational(head.status, head.fields);
  }

  #onHead(raw: readonly string[], flags: number): void {
    const request = this.#request;
    if (request === null) return;
    const ended = (flags & END_STREAM) !== 0;
    const read = readAnswerHead(raw, ended, request.method === 'HEAD');
    if (read === null || read.status < 200) return this.#fail('invalid', 'the head of the answer is not valid HTTP/2');
    const opens = request.upgrade !== null && read.status < 300;
    if (opens && ended) return this.#fail('invalid', 'the target accepted a WebSocket and ended it in one');
    const head = opens ? acceptedHead(request, read) : read;
    this.#answered = true;
    this.#tunnel = opens;
    this.#left = opens || ended ? UNKNOWN_LENGTH : head.length;
    this.#observer?.onUpstreamHead(head);
    if (ended) return this.#whole();
    this.#stream?.on('end', () => this.#onEnd());
    this.#stream?.on('data', (chunk: Buffer) => this.#onData(chunk));
    this.#pause();
  }

  #onData(chunk: Buffer): void {
    if (this.#left !== UNKNOWN_LENGTH) {
      this.#left -= chunk.length;
      if (this.#left < 0) return this.#fail('invalid', 'the answer is longer than it said');
    }
    this.#observer?.onUpstreamData(chunk);
    this.#pause();
  }

  /** What came in this turn of the event loop leaves together. */
  #pause(): void {
    if (this.#pausing) return;
    this.#pausing = true;
    setImmediate(() => {
      this.#pausing = false;
      this.#observer?.onUpstreamPause();
    });
  }

  #onEnd(): void {
    if (this.#observer === null) return;
    // The close event says so.
    if (!this.#endStream) return;
    if (this.#tunnel) {
      this.#observer.onUpstreamEnd(null);
      return;
    }
    if (this.#left > 0) return this.#fail('invalid', 'the answer is shorter than it said');
    this.#whole();
  }

  #whole(): void {
    const observer = this.#observer;
    this.#observer = null;
    // The target does not want the rest of the request.
    if (!this.#requestEnded) this.#stream?.destroy(BROKEN_OFF);
    observer?.onUpstreamEnd(this.#answerTrailers);
  }

  #onClose(stream: ClientHttp2Stream): void {
    this.#owner.onClosed();
    if (this.#observer === null) return;
    if (this.#tunnel && this.#endStream) {
      this.#observer = null;
      return;
    }
    const refused = stream.rstCode === NGHTTP2_REFUSED_STREAM && !this.#answered;
    this.#fail(refused ? 'refused' : 'reset', `the target reset the stream (code ${stream.rstCode ?? 0})`);
  }

  #fail(kind: 'reset' | 'invalid' | 'refused', message: string): void {
    const observer = this.#observer;
    this.#observer = null;
    const stream = this.#stream;
    this.#reset();
    observer?.onUpstreamFailed({ kind, sent: stream !== null, reused: this.#owner.reused, message });
  }

  #failSoon(kind: 'invalid' | 'refused', message: string): void {
    this.#owner.onClosed();
    queueMicrotask(() => this.#fail(kind, message));
  }
}

function headOf(request: UpstreamRequest): string[] {
  const webSocket = request.upgrade !== null;
  const list = [
    ':method',
    webSocket ? 'CONNECT' : request.method,
    ':scheme',
    request.scheme,
    ':path',
    request.path,
    ':authority',
    request.authority,
  ];
  if (webSocket) list.push(':protocol', 'websocket');
  pushFields(list, webSocket ? withoutKey(request.fields) : request.fields, false);
  pushFields(list, request.origin, true);
  if (request.length > 0) list.push('content-length', String(request.length));
  if (request.expectsContinue) list.push('expect', '100-continue');
  if (request.takesTrailers) list.push('te', 'trailers');
  return list;
}

/** The key belongs to the handshake of HTTP/1.1. */
function withoutKey(fields: Fields): Fields {
  const copy = fields.copy();
  copy.delete('sec-websocket-key');
  return copy;
}

/** What a client of HTTP/1.1 expects to hear. */
function acceptedHead(request: UpstreamRequest, head: AnswerHead): AnswerHead {
  const key = request.fields.get('sec-websocket-key');
  const fields = head.fields.copy();
  const name = fieldName('Sec-WebSocket-Accept');
  fields.delete('sec-websocket-accept');
  if (key !== undefined && name !== null) fields.push(name, webSocketAccept(key));
  return { status: 101, reason: '', fields, length: UNKNOWN_LENGTH };
}
