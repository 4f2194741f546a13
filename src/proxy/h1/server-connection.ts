// One connection of a client that speaks HTTP/1.1 (RFC 9112): requests one after the other, each an exchange. Pipelined requests wait in
// a bounded buffer; a message that cannot be read in one way only is answered with the reason and ends the connection.

import type { Socket } from 'node:net';
import type { ClientConnection, ClientConnectionDeps } from '../client-connection.ts';
import type { DeadlineEntry } from '../deadlines.ts';
import type { ProxyLimits } from '../limits.ts';
import type { ConnectionFacts } from '../message.ts';
import { ownCopy } from '../../sys/reader.ts';
import { resetSocket } from '../../sys/reset-socket.ts';
import type { Reader } from '../../sys/reader.ts';
import { headEnd } from './head-end.ts';
import { Output } from './output.ts';
import { parseRequestHead } from './request-head.ts';
import type { RefusedMessage } from './request-head.ts';
import { ServerExchange } from './server-exchange.ts';
import type { ExchangeOwner } from './server-exchange.ts';

const CR = 13;
const LF = 10;
/** What may wait behind a request that is being answered, before the socket is read no further. */
const HELD_BYTES = 64 * 1_024;
/** After our end of the connection: so long for the client's, so that a reset does not take the answer away from it. */
const LINGER_MS = 2_000;

type Phase = 'head' | 'exchange' | 'ending';

export class ServerConnection implements ClientConnection, DeadlineEntry, ExchangeOwner {
  readonly socket: Socket;
  readonly facts: ConnectionFacts;
  readonly limits: ProxyLimits;
  readonly #deps: ClientConnectionDeps;
  readonly output: Output;
  deadlineMs = 0;
  deadlineSlot = -1;
  /** Set when the last answer ended, or at the accept. Monotonic, coarse. */
  idleSinceMs: number;
  #phase: Phase = 'head';
  #exchange: ServerExchange | null = null;
  #held: Buffer | null = null;
  #consuming = false;
  #served = 0;
  /** The client has ended its side. */
  #halfClosed = false;
  /** Bytes of an unwanted body that may still come. */
  #discardLeft = 0;
  /** Part of a head is there; its time runs. */
  #headBegun = false;

  /** @param reader gets what comes on the socket; null: its 'data' events have it. */
  constructor(socket: Socket, facts: ConnectionFacts, deps: ClientConnectionDeps, reader: Reader | null) {
    this.socket = socket;
    this.facts = facts;
    this.#deps = deps;
    this.limits = deps.limits;
    this.output = new Output(socket);
    this.idleSinceMs = deps.deadlines.now();
    this.#wait(deps.limits.headerTimeoutMs);
    if (reader === null) socket.on('data', (chunk: Buffer) => this.receive(chunk));
    else reader.onRead = (bytes) => this.receive(bytes);
    socket.on('end', () => this.#onEnd());
    socket.on('drain', () => this.#exchange?.onDrain());
    // The close event follows and does the rest.
    socket.on('error', () => undefined);
    socket.on('close', () => this.#onClose());
  }

  /** No exchange is under way and no part of a request is there. */
  get idle(): boolean {
    return this.#phase === 'head' && this.#held === null;
  }

  /** It is said by the next answer. */
  goAway(): void {
    // HTTP/1.1 has no word of its own for it.
  }

  leave(): void {
    this.socket.destroy();
  }

  /** Bytes from the client, in memory that may be used again when this is over. */
  receive(chunk: Buffer): void {
    const held = this.#held;
    this.#held = null;
    this.#consume(held === null ? chunk : Buffer.concat([held, chunk]), held !== null);
  }

  draining(): boolean {
    return this.#deps.draining();
  }

  date(): string {
    return this.#deps.date();
  }

  pause(): void {
    this.socket.pause();
  }

  endSending(): void {
    this.output.flushQueued();
    this.socket.end();
  }

  /** Goes on where reading had stopped. */
  resume(): void {
    if (this.#consuming) return;
    const held = this.#held;
    this.#held = null;
    if (held !== null) this.#consume(held, true);
    else if (this.#halfClosed) this.#settleEnd();
    if (this.#held === null && this.socket.readableFlowing !== true) this.socket.resume();
  }

  /** @param own nobody else uses its memory. */
  #consume(data: Buffer, own: boolean): void {
    this.#consuming = true;
    let at = 0;
    while (at < data.length) {
      if (this.#phase === 'head') {
        const next = this.#takeHead(data, at);
        if (next === -1) break;
        at = next;
      } else if (this.#phase === 'ending') {
        this.#discardLeft -= data.length - at;
        if (this.#discardLeft < 0) this.socket.destroy();
        at = data.length;
      } else {
        const next = this.#exchange?.take(data, at) ?? data.length;
        if (next === at) {
          this.#hold(data, at, own);
          break;
        }
        at = next;
      }
    }
    this.#consuming = false;
    if (this.#halfClosed) this.#settleEnd();
    else if (this.#held === null && this.socket.isPaused() && this.#exchange?.bodyStopped !== true) this.socket.resume();
  }

  /** Keeps what cannot be used now. Small rests are copied, so that they do not hold the large buffer that they came in. */
  #hold(data: Buffer, at: number, own: boolean): void {
    const rest = data.subarray(at);
    this.#held = own && rest.length >= data.length / 2 ? rest : Buffer.from(rest);
    if (this.#held.length > HELD_BYTES || this.#exchange?.bodyEnded === false) this.socket.pause();
  }

  /** Reads a head from `at`; returns where it ends, or -1 where it is not whole or the connection has ended. */
  #takeHead(data: Buffer, at: number): number {
    let from = at;
    // One empty line before a request is a leftover of an old client (RFC 9112 §2.2).
    if (data[from] === CR && data[from + 1] === LF) from += 2;
    const { limits } = this.#deps;
    const end = headEnd(data, from);
    if (end === -1 || end + 4 - from > limits.headerBytes) {
      const problem = end === -1 ? headProblem(data, from) : null;
      if (problem !== null) return this.refuse(400, problem);
      if (data.length - from > limits.headerBytes) return this.refuse(431, `the head is longer than ${limits.headerBytes} bytes`);
      // From its first byte, not from its newest one; the first head has had its time since the accept.
      if (!this.#headBegun && this.#served > 0) this.#wait(limits.headerTimeoutMs);
      this.#headBegun = true;
      this.#held = ownCopy(data, at, data.length);
      return -1;
    }
    const parsed = parseRequestHead(data.toString('latin1', from, end + 4));
    if (parsed.type === 'refused') return this.refuse(parsed.status, parsed.why);
    this.#deps.deadlines.delete(this);
    this.#phase = 'exchange';
    this.#headBegun = false;
    this.#served += 1;
    const exchange = new ServerExchange(this, parsed);
    this.#exchange = exchange;
    this.#deps.onExchange(exchange);
    return end + 4;
  }

  /** The answer has been sent, and the rest of the body is read over so that the next request is found. */
  discarding(): void {
    this.#wait(this.#deps.limits.bodyIdleMs);
    this.resume();
  }

  /** The exchange is over: the answer has been sent and all of the body was read. */
  finished(keepAlive: boolean): void {
    this.#exchange = null;
    const { limits, deadlines } = this.#deps;
    this.idleSinceMs = deadlines.now();
    if (!keepAlive) {
      this.end();
      return;
    }
    this.#phase = 'head';
    this.#wait(limits.clientIdleMs);
    this.resume();
  }

  /** Says no more; what the client still sends is read over for a while, so that it gets to what was said. */
  end(): void {
    if (this.#phase === 'ending') return;
    this.#phase = 'ending';
    this.#held = null;
    this.#discardLeft = this.#deps.limits.discardBytes;
    this.output.flushQueued();
    this.socket.end();
    this.#wait(LINGER_MS);
    this.socket.resume();
  }

  refuse(status: RefusedMessage['status'] | 408, why: string): -1 {
    this.#deps.onRefused(status, why, this.facts.address);
    this.output.flushQueued();
    this.socket.write(refusalText(status, why), 'latin1');
    this.end();
    return -1;
  }

  /** The message that is being read turned out not to be valid, behind its head. */
  broken(exchange: ServerExchange, why: string): void {
    this.#deps.onRefused(400, why, this.facts.address);
    this.#exchange = null;
    if (exchange.answering) this.abort();
    else {
      this.output.flushQueued();
      this.socket.write(refusalText(400, why), 'latin1');
      this.end();
    }
    exchange.lost();
  }

  abort(): void {
    this.#exchange = null;
    this.#phase = 'ending';
    this.#deps.deadlines.delete(this);
    if (this.socket.destroyed) return;
    // Answers before this one are whole.
    this.output.flushQueued();
    // TLS sockets have no reset of their own.
    if ('encrypted' in this.socket) this.socket.destroy();
    else resetSocket(this.socket);
  }

  onDeadline(): void {
    if (this.#phase === 'exchange') {
      // Half-closed and nothing moved: nobody is there. Or the rest of a body that nobody wants does not come.
      if (this.#exchange?.discarding === true) this.end();
      else this.#lose();
      return;
    }
    if (this.#phase === 'head' && (this.#held !== null || this.#served === 0)) {
      if (this.#held === null) this.socket.destroy();
      else this.refuse(408, 'the head did not arrive in time');
    } else this.socket.destroy();
  }

  #wait(ms: number): void {
    this.deadlineMs = this.#deps.deadlines.now() + ms;
    this.#deps.deadlines.add(this);
  }

  #onEnd(): void {
    this.#halfClosed = true;
    this.#settleEnd();
  }

  /** The client has ended its side: what does that mean, once all that it has sent was taken? */
  #settleEnd(): void {
    const exchange = this.#exchange;
    if (this.#phase === 'head') {
      if (this.#held === null) this.end();
      else this.refuse(400, 'the connection ended inside a head');
    } else if (this.#held !== null || exchange === null) return;
    else if (exchange.tunnel) exchange.tunnelEnded();
    else if (!exchange.bodyEnded) this.#lose();
    // Whole request, answer outstanding: some clients end their side and read on; one that has gone away looks the same until it is
    // written to. It gets this long with nothing moving.
    else this.#wait(this.limits.halfClosedMs);
  }

  /** Something was sent to a half-closed client and it took it. */
  moved(): void {
    if (this.#halfClosed && this.#phase === 'exchange') this.deadlineMs = this.#deps.deadlines.now() + this.#deps.limits.halfClosedMs;
  }

  #lose(): void {
    const exchange = this.#exchange;
    this.abort();
    exchange?.lost();
  }

  #onClose(): void {
    const exchange = this.#exchange;
    this.#exchange = null;
    this.#phase = 'ending';
    this.#held = null;
    this.#deps.deadlines.delete(this);
    exchange?.lost();
  }
}

/** What is already wrong with the beginning of a head; null while it may become one. */
function headProblem(data: Buffer, from: number): string | null {
  const first = data[from];
  if (first !== undefined && (first <= 32 || first >= 127)) {
    if (first === CR && data.length === from + 1) return null;
    return first === 0x16 ? 'this port speaks plain HTTP, not TLS' : 'the request line has no method';
  }
  for (let at = data.indexOf(LF, from); at !== -1; at = data.indexOf(LF, at + 1)) {
    if (data[at - 1] !== CR) return 'a line does not end with CRLF';
  }
  return null;
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  414: 'URI Too Long',
  417: 'Expectation Failed',
  431: 'Request Header Fields Too Large',
  501: 'Not Implemented',
  505: 'HTTP Version Not Supported',
};

function refusalText(status: number, why: string): string {
  const reason = REASONS[status] ?? 'Bad Request';
  const body = `${status} ${reason}\nThe request cannot be understood: ${why}.\n`;
  return `HTTP/1.1 ${status} ${reason}\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`;
}
