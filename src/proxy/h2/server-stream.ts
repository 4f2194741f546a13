// One request on a client's HTTP/2 connection and its answer. The library below frames and keeps the windows; here is what an exchange
// means: an answer that broke off never ends as if it were whole, and an answer before the end of its request stops the rest of it.

import { constants } from 'node:http2';
import type { ServerHttp2Stream } from 'node:http2';
import { kept } from '../../sys/reader.ts';
import { FIELD } from '../fields.ts';
import type { Fields } from '../fields.ts';
import type { AnswerHead, ClientObserver, ClientStream, ConnectionFacts, RequestHead } from '../message.ts';
import { UNKNOWN_LENGTH } from '../message.ts';
import { Pieces } from '../pieces.ts';
import { BROKEN_OFF, fieldObject, pushFields, trailersOf } from './library.ts';

const { NGHTTP2_NO_ERROR } = constants;

/** The connection that a stream runs on. */
export interface StreamOwner {
  readonly facts: ConnectionFacts;
  /** Now, as a Date field says it. */
  date(): string;
  /** A piece of a body has come, which is no overhead. */
  received(bytes: number): void;
  /** `reset`: the client took the request back. */
  closed(reset: boolean): void;
}

export class ServerStream implements ClientStream {
  readonly head: RequestHead;
  readonly connection: ConnectionFacts;
  bodyEnded: boolean;
  readonly #owner: StreamOwner;
  readonly #stream: ServerHttp2Stream;
  #observer: ClientObserver | null = null;
  #wanted = false;
  /** The body is listened to. */
  #reading = false;
  /** Of the request body, where it was said. */
  #left: number;
  /** END_STREAM has come. */
  #endStream = false;
  #requestTrailers: Fields | null = null;
  #mustContinue: boolean;
  #answering = false;
  #bodiless = false;
  #tunnel = false;
  /** Of the answer, where it was said; UNKNOWN_LENGTH where it was not. */
  #answerLeft = UNKNOWN_LENGTH;
  #trailers: Fields | null = null;
  /** Held back for company, until a flush. */
  #unsent: Pieces | null = null;
  /** The last byte of the answer is with the library. */
  #sentEnd = false;
  #clientEnded = false;
  #waitsForDrain = false;
  #over = false;

  constructor(owner: StreamOwner, stream: ServerHttp2Stream, head: RequestHead) {
    this.#owner = owner;
    this.#stream = stream;
    this.head = head;
    this.connection = owner.facts;
    this.bodyEnded = head.length === 0;
    this.#left = head.length;
    this.#mustContinue = head.expectsContinue;
    if (!this.bodyEnded || head.upgrade !== null) this.#watch();
    // The close event follows and does the rest.
    stream.on('error', ignore);
    stream.once('close', () => this.#onClose(stream.rstCode !== NGHTTP2_NO_ERROR));
  }

  /** Sees what arrives before anybody wants it. */
  #watch(): void {
    const stream = this.#stream;
    const push = stream.push.bind(stream);
    stream.push = (chunk: Buffer | null, encoding) => {
      if (chunk !== null) this.#owner.received(chunk.length);
      // The library ends a stream that was reset without an error, too.
      else if (!stream.closed) this.#endStream = true;
      return push(chunk, encoding);
    };
    stream.on('trailers', (_fields, _flags, raw: string[] = []) => {
      this.#requestTrailers = trailersOf(raw);
    });
    // What was put back, such as the first bytes of a connection without TLS, the library takes in one go: the body, and its end, may be
    // here before anybody was told of the request.
    if (stream.readableLength > 0) this.#owner.received(stream.readableLength);
    if (!stream.closed && stream.state.remoteClose === 1) this.#endStream = true;
  }

  get bodyStopped(): boolean {
    return !this.#wanted && (this.#tunnel || !this.bodyEnded);
  }

  observe(observer: ClientObserver): void {
    this.#observer = observer;
  }

  readBody(wanted: boolean): void {
    if (this.#wanted === wanted || this.#over) return;
    this.#wanted = wanted;
    if (!wanted) {
      if (this.#reading) this.#stream.pause();
    } else if (this.#reading) this.#stream.resume();
    else if (this.#tunnel || !this.bodyEnded) this.#read();
  }

  #read(): void {
    const stream = this.#stream;
    this.#reading = true;
    stream.on('end', () => this.#onEnd());
    stream.on('data', (chunk: Buffer) => this.#onData(chunk));
  }

  #onData(chunk: Buffer): void {
    if (this.#over) return;
    this.#mustContinue = false;
    if (!this.#tunnel && this.#left !== UNKNOWN_LENGTH) {
      this.#left -= chunk.length;
      if (this.#left < 0) return this.#break();
    }
    this.#observer?.onBody(chunk);
  }

  #onEnd(): void {
    if (this.#over) return;
    if (this.#tunnel) {
      this.#clientEnded = true;
      this.bodyEnded = true;
      this.#observer?.onBodyEnd(null);
      if (this.#sentEnd) this.#over = true;
      return;
    }
    if (this.bodyEnded) return;
    if (this.#left > 0 || !this.#endStream) return this.#break();
    this.bodyEnded = true;
    this.#observer?.onBodyEnd(this.#requestTrailers);
  }

  /** The message of the client is not valid: for who listens, it is gone. */
  #break(): void {
    this.#over = true;
    this.#stream.destroy(BROKEN_OFF);
    this.#observer?.onClientGone();
  }

  sendContinue(): void {
    if (!this.#mustContinue || this.#answering || this.#gone) return;
    this.#mustContinue = false;
    this.#stream.additionalHeaders({ ':status': 100 });
  }

  sendInformational(status: number, fields: Fields): void {
    if (this.#answering || this.#gone) return;
    this.#stream.additionalHeaders({ ...fieldObject(fields), ':status': status });
  }

  sendHead(head: AnswerHead): void {
    if (this.#answering || this.#gone) return;
    this.#answering = true;
    const { upgrade } = this.head;
    const accepted = head.status === 101;
    // 2xx to CONNECT opens the tunnel (RFC 8441 §5), which this target has not done.
    const misread = upgrade !== null && !accepted && head.status < 300;
    this.#bodiless =
      misread || this.head.method === 'HEAD' || head.status === 204 || head.status === 205 || head.status === 304 || head.length === 0;
    const list = [':status', accepted ? '200' : misread ? '502' : String(head.status)];
    pushFields(list, accepted ? withoutAccept(head.fields) : head.fields, true);
    if (!head.fields.has('date')) list.push('date', this.#owner.date());
    if (!accepted && !misread && head.length !== UNKNOWN_LENGTH && head.status !== 204) list.push('content-length', String(head.length));
    if (accepted) {
      this.#tunnel = true;
      this.bodyEnded = false;
    } else if (!this.#bodiless) this.#answerLeft = head.length;
    const waitForTrailers = !this.#bodiless && !accepted && head.length === UNKNOWN_LENGTH;
    try {
      this.#stream.respond(list, { endStream: this.#bodiless && !accepted, waitForTrailers });
    } catch {
      // A field that the library does not let through: better no answer than another one.
      this.#stream.destroy(BROKEN_OFF);
      return;
    }
    if (waitForTrailers)
      this.#stream.on('wantTrailers', () => {
        this.#stream.sendTrailers(this.#trailers === null ? {} : fieldObject(this.#trailers));
      });
  }

  sendData(chunk: Buffer): boolean {
    if (this.#gone || this.#sentEnd || chunk.length === 0 || this.#bodiless) return true;
    if (this.#answerLeft !== UNKNOWN_LENGTH && !this.#tunnel) {
      this.#answerLeft -= chunk.length;
      if (this.#answerLeft < 0) {
        this.abort();
        return true;
      }
    }
    this.#unsent ??= new Pieces();
    this.#unsent.add(kept(chunk));
    if (this.#answerLeft === 0 && !this.#tunnel) {
      // So that the last piece carries the end of the stream.
      this.#sentEnd = true;
      this.#end();
      return true;
    }
    const { bytes } = this.#unsent;
    return (bytes < JOIN_BYTES && bytes + this.#stream.writableLength < this.#stream.writableHighWaterMark) || this.#write();
  }

  /** Sends what waits; false where the stream wants no more for now. */
  #write(): boolean {
    const { bytes, list } = this.#unsent ?? NOTHING;
    this.#unsent = null;
    let room = true;
    if (bytes > 0 && bytes <= JOIN_BYTES && list.length > 1) room = this.#stream.write(Buffer.concat(list, bytes));
    else for (const piece of list) room = this.#stream.write(piece);
    if (room) return true;
    if (!this.#waitsForDrain) {
      this.#waitsForDrain = true;
      this.#stream.once('drain', () => {
        this.#waitsForDrain = false;
        if (!this.#over) this.#observer?.onClientDrain();
      });
    }
    return false;
  }

  /** Sends what waits, and ends the stream. */
  #end(): void {
    const { bytes, list } = this.#unsent ?? NOTHING;
    this.#unsent = null;
    if (list.length === 0) this.#stream.end();
    else this.#stream.end(list.length === 1 ? list[0] : Buffer.concat(list, bytes));
  }

  sendEnd(trailers: Fields | null): void {
    if (this.#over) return;
    if (this.#tunnel) {
      this.#sentEnd = true;
      this.#end();
      if (this.#clientEnded) this.#over = true;
      return;
    }
    if (!this.#bodiless && this.#answerLeft > 0) return this.abort();
    this.#over = true;
    this.#trailers = trailers;
    if (!this.#sentEnd && !this.#bodiless) this.#end();
    // The rest of the request is not wanted (RFC 9113 §8.1).
    if (!this.bodyEnded) this.#stopRequest();
  }

  #stopRequest(): void {
    const stream = this.#stream;
    if (stream.writableFinished) stream.close(NGHTTP2_NO_ERROR);
    else stream.once('finish', () => stream.close(NGHTTP2_NO_ERROR));
  }

  flush(): void {
    if (!this.#gone && !this.#sentEnd && this.#unsent !== null) this.#write();
  }

  abort(): void {
    if (this.#over) return;
    this.#over = true;
    this.#stream.destroy(BROKEN_OFF);
  }

  get #gone(): boolean {
    return this.#over || this.#stream.closed || this.#stream.destroyed;
  }

  #onClose(reset: boolean): void {
    const observer = this.#observer;
    // The library's list of streams keeps those that are over for a while (docs/decisions/0011-what-bounds-the-edge.md): that shall not keep
    // the exchange, too.
    this.#observer = null;
    this.#owner.closed(reset && !this.#over);
    if (this.#over) return;
    this.#over = true;
    observer?.onClientGone();
  }
}

const NOTHING = new Pieces();
/** Together they are copied into one buffer. */
const JOIN_BYTES = 16 * 1_024;
const ignore = (): void => undefined;

/** Belongs to the handshake of HTTP/1.1 alone. */
function withoutAccept(fields: Fields): Fields {
  const copy = fields.copy();
  copy.keep((name) => name.lower !== 'sec-websocket-accept' && name.kind !== FIELD.trailer);
  return copy;
}
