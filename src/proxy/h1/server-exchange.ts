// One request on a client's HTTP/1.1 connection and its answer. The connection reads on for the next request only when both are whole.

import type { Fields } from '../fields.ts';
import type { AnswerHead, ClientObserver, ClientStream, ConnectionFacts, RequestHead } from '../message.ts';
import { ownCopy } from '../../sys/reader.ts';
import { UNKNOWN_LENGTH } from '../message.ts';
import type { ProxyLimits } from '../limits.ts';
import { ChunkedReader } from './chunked.ts';
import type { Output } from './output.ts';
import type { ParsedRequest } from './request-head.ts';
import { answerHeadText, informationalText, lastChunkText } from './write.ts';

const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';
const CRLF = '\r\n';

type Framing = 'none' | 'length' | 'chunked' | 'close' | 'tunnel';

/** The connection that an exchange runs on. */
export interface ExchangeOwner {
  readonly facts: ConnectionFacts;
  readonly output: Output;
  readonly limits: ProxyLimits;
  /** True: no further request on this connection. */
  draining(): boolean;
  /** Now, as a Date field says it. */
  date(): string;
  /** Goes on where reading had stopped, and stops it. */
  resume(): void;
  pause(): void;
  /** Ends our direction of an upgraded stream. */
  endSending(): void;
  /** Something was sent and taken. */
  moved(): void;
  /** The message turned out not to be valid, behind its head. */
  broken(exchange: ServerExchange, why: string): void;
  /** The answer has been sent, and the rest of the body is read over so that the next request is found. */
  discarding(): void;
  /** The answer has been sent and all of the body was read. */
  finished(keepAlive: boolean): void;
  /** Says no more; what the client still sends is read over for a while. */
  end(): void;
  abort(): void;
}

export class ServerExchange implements ClientStream {
  readonly head: RequestHead;
  readonly connection: ConnectionFacts;
  bodyEnded: boolean;
  /** The head of the answer has been sent. */
  answering = false;
  /** Both directions are bytes. */
  tunnel = false;
  readonly #connection: ExchangeOwner;
  readonly #chunked: ChunkedReader | null;
  readonly #keepAlive: boolean;
  #observer: ClientObserver | null = null;
  #wanted = false;
  #left: number;
  #framing: Framing = 'none';
  #close = false;
  #over = false;
  /** Bytes of the answer that its head has announced and that have not come. */
  #answerLeft = 0;
  /** What may still be read over of a body that nobody wants; −1 while somebody does. */
  #discardLeft = -1;
  #mustContinue: boolean;
  /** Of an upgraded stream: each direction has its own end. */
  #clientEnded = false;
  #sendingEnded = false;

  constructor(connection: ExchangeOwner, parsed: ParsedRequest) {
    this.#connection = connection;
    this.head = parsed.head;
    this.connection = connection.facts;
    this.#keepAlive = parsed.keepAlive;
    this.#left = Math.max(0, parsed.head.length);
    this.#chunked = parsed.chunked ? new ChunkedReader() : null;
    this.bodyEnded = parsed.head.length === 0;
    this.#mustContinue = parsed.head.expectsContinue;
  }

  /** Bytes of the body are there or may come, and nobody wants them now. */
  get bodyStopped(): boolean {
    return !this.#wanted && (this.tunnel || !this.bodyEnded);
  }

  observe(observer: ClientObserver): void {
    this.#observer = observer;
  }

  readBody(wanted: boolean): void {
    if (this.#wanted === wanted || this.#over) return;
    this.#wanted = wanted;
    if (wanted) this.#connection.resume();
    else if (!this.bodyEnded || this.tunnel) this.#connection.pause();
  }

  /** The answer has been sent, and the rest of the body is read over. */
  get discarding(): boolean {
    return this.#discardLeft !== -1;
  }

  /** Takes bytes from the connection; returns how far, `at` where none are wanted now. */
  take(data: Buffer, at: number): number {
    if (this.tunnel) {
      if (!this.#wanted) return at;
      this.#observer?.onBody(ownCopy(data, at, data.length));
      return data.length;
    }
    if (this.bodyEnded || !this.#wanted) return at;
    this.#mustContinue = false;
    const chunked = this.#chunked;
    if (chunked === null) {
      const taken = Math.min(this.#left, data.length - at);
      this.#left -= taken;
      if (this.#left === 0) this.bodyEnded = true;
      this.#deliver(data, at, at + taken);
      if (this.bodyEnded) this.#deliverEnd(null);
      return at + taken;
    }
    const next = chunked.push(data, at);
    if (chunked.why !== null) {
      this.#connection.broken(this, chunked.why);
      return data.length;
    }
    if (chunked.pieceTo > chunked.pieceFrom) this.#deliver(data, chunked.pieceFrom, chunked.pieceTo);
    if (chunked.done) {
      this.bodyEnded = true;
      this.#deliverEnd(chunked.trailers);
    }
    return next;
  }

  #deliver(data: Buffer, from: number, to: number): void {
    if (this.#discardLeft === -1) {
      this.#observer?.onBody(ownCopy(data, from, to));
      return;
    }
    this.#discardLeft -= to - from;
    if (this.#discardLeft < 0) this.#connection.abort();
  }

  #deliverEnd(trailers: Fields | null): void {
    if (this.#discardLeft === -1) {
      if (!this.#over) this.#observer?.onBodyEnd(trailers);
    } else if (this.#discardLeft >= 0) this.#connection.finished(true);
  }

  sendContinue(): void {
    if (!this.#mustContinue || this.answering || this.#over) return;
    this.#mustContinue = false;
    this.#connection.output.text(CONTINUE);
    this.#connection.output.flush();
  }

  sendInformational(status: number, fields: Fields): void {
    if (this.answering || this.#over || this.head.version === '1.0') return;
    this.#connection.output.text(informationalText(status, fields));
    this.#connection.output.flush();
  }

  sendHead(head: AnswerHead, close: boolean): void {
    if (this.answering || this.#over) return;
    this.answering = true;
    const modern = this.head.version === '1.1';
    const bodiless = this.head.method === 'HEAD' || head.status === 204 || head.status === 304 || head.length === 0;
    if (head.status === 101) this.#framing = 'tunnel';
    else if (bodiless) this.#framing = 'none';
    else if (head.length !== UNKNOWN_LENGTH) {
      this.#framing = 'length';
      this.#answerLeft = head.length;
    } else this.#framing = modern ? 'chunked' : 'close';
    // A client that waits for leave to send its body, and gets the answer instead, cannot be told when its next request begins.
    this.#close = close || !this.#keepAlive || this.#framing === 'close' || this.#mustContinue || this.#connection.draining();
    this.#connection.output.text(
      answerHeadText(
        head,
        {
          kind: this.#framing === 'tunnel' ? 'none' : this.#framing,
          close: this.#close,
          keepAliveOld: !modern,
        },
        this.#connection.date(),
      ),
    );
    if (this.#framing !== 'tunnel') return;
    this.tunnel = true;
    this.bodyEnded = false;
    this.#connection.output.flush();
  }

  sendData(chunk: Buffer): boolean {
    if (this.#over || chunk.length === 0 || this.#framing === 'none') return true;
    const { output } = this.#connection;
    if (this.#framing === 'chunked') {
      output.text(`${chunk.length.toString(16)}\r\n`);
      output.piece(chunk);
      output.text(CRLF);
    } else {
      if (this.#framing === 'length') {
        this.#answerLeft -= chunk.length;
        // Before any of it is with those that are about to leave.
        if (this.#answerLeft < 0) {
          this.#breakOff();
          return true;
        }
      }
      output.piece(chunk);
    }
    return output.unsent < this.#connection.limits.writeBytes || output.flush();
  }

  sendEnd(trailers: Fields | null): void {
    if (this.#over) return;
    const { output } = this.#connection;
    if (this.tunnel) {
      if (this.#sendingEnded) return;
      this.#sendingEnded = true;
      output.flush();
      this.#connection.endSending();
      if (this.#clientEnded) this.#finish();
      return;
    }
    if (this.#answerLeft > 0) {
      this.#breakOff();
      return;
    }
    if (this.#framing === 'chunked') output.text(lastChunkText(trailers));
    output.flushSoon();
    this.#finish();
  }

  flush(): void {
    if (this.#over || !this.#connection.output.waiting) return;
    this.#connection.output.flushSoon();
    this.#connection.moved();
  }

  abort(): void {
    if (this.#over) return;
    this.#over = true;
    this.#connection.abort();
  }

  /** The connection broke. */
  lost(): void {
    if (this.#over) return;
    this.#over = true;
    this.#observer?.onClientGone();
  }

  onDrain(): void {
    this.#connection.moved();
    if (!this.#over) this.#observer?.onClientDrain();
  }

  /** The client has ended its direction of an upgraded stream. */
  tunnelEnded(): void {
    if (this.#clientEnded || this.#over) return;
    this.#clientEnded = true;
    this.bodyEnded = true;
    this.#observer?.onBodyEnd(null);
    if (this.#sendingEnded) this.#finish();
  }

  /** The answer is not what its head has announced: no client may take it for whole. */
  #breakOff(): void {
    this.#over = true;
    this.#connection.abort();
  }

  #finish(): void {
    this.#over = true;
    if (this.bodyEnded) this.#connection.finished(!this.#close);
    else if (this.#close) this.#connection.end();
    else {
      this.#discardLeft = this.#connection.limits.discardBytes;
      this.#wanted = true;
      this.#connection.discarding();
    }
  }
}
