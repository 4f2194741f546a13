// The codec of the client's side by itself: bytes in, in whatever pieces, and what was understood out. For tests and for fuzzing.

import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { createFakeClock } from '../../src/lib/clock.ts';
import { createDeadlines } from '../../src/proxy/deadlines.ts';
import { Fields } from '../../src/proxy/fields.ts';
import { ServerConnection } from '../../src/proxy/h1/server-connection.ts';
import { DEFAULT_LIMITS } from '../../src/proxy/limits.ts';
import type { ClientStream } from '../../src/proxy/message.ts';

export interface Reading {
  /** `METHOD target host length fields | body | trailers` of each request that came whole. */
  readonly requests: readonly string[];
  /** The rest was refused. With which status may depend on how much was there to be seen. */
  readonly refused: boolean;
  /** A request began and was broken off. */
  readonly broken: boolean;
}

/** As much of a socket as the codec uses; what is written goes nowhere. */
class Sink extends EventEmitter {
  destroyed = false;
  ended = false;
  paused = false;
  readonly writableLength = 0;
  readonly writableNeedDrain = false;
  write(): boolean {
    return true;
  }
  end(): void {
    this.ended = true;
  }
  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.emit('close');
  }
  resetAndDestroy(): void {
    this.destroy();
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  isPaused(): boolean {
    return this.paused;
  }
  cork(): void {
    this.paused = this.isPaused();
  }
  uncork(): void {
    this.paused = this.isPaused();
  }
}

/** Reads the pieces as one connection would; each request is answered when it is whole. */
export function readPieces(pieces: readonly Buffer[]): Reading {
  const requests: string[] = [];
  let refused = false;
  let broken = false;
  const sink = new Sink();
  const onExchange = (stream: ClientStream): void => {
    const { head } = stream;
    let body = '';
    const whole = (trailers: Fields | null): void => {
      const fields = JSON.stringify(head.fields.pairs());
      requests.push(
        `${head.method} ${head.target} ${head.host} ${head.length} ${head.upgrade ?? ''} ${fields} | ${body} | ${JSON.stringify(trailers?.pairs() ?? null)}`,
      );
      stream.sendHead({ status: 200, reason: '', fields: new Fields(), length: 0 }, false);
      stream.sendEnd(null);
    };
    stream.observe({
      onBody: (chunk) => (body += chunk.toString('latin1')),
      onBodyEnd: whole,
      onClientDrain: () => undefined,
      onClientGone: () => (broken = true),
    });
    if (stream.bodyEnded) whole(null);
    else stream.readBody(true);
  };
  // The codec asks nothing of a socket that the sink has not.
  const connection = new ServerConnection(
    sink as unknown as Socket,
    { address: '127.0.0.1', port: 1, scheme: 'http', tls: null },
    {
      limits: DEFAULT_LIMITS,
      deadlines: createDeadlines(createFakeClock()),
      onExchange,
      onRefused: () => (refused = true),
      draining: () => false,
      date: () => 'now',
    },
    null,
  );
  for (const piece of pieces) {
    if (sink.destroyed) break;
    // The memory of a read is used again: what is kept of it has to be a copy.
    const lent = Buffer.from(piece);
    connection.receive(lent);
    lent.fill(0xff);
  }
  if (!sink.destroyed) sink.emit('end');
  return { requests, refused, broken };
}

/** The same bytes in pieces that end at the given places. */
export function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [...new Set(places)].filter((place) => place > 0 && place < bytes.length).sort((a, b) => a - b);
  return [...sorted, bytes.length].map((end, index) => bytes.subarray(index === 0 ? 0 : (sorted[index - 1] ?? 0), end));
}
