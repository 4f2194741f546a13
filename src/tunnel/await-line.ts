// Reads exactly one line of a connection that is then somebody else's: what stands behind the line is theirs, in order.

import type { Socket } from 'node:net';
import type { Reader } from '../sys/reader.ts';
import { createLineReader } from './preface.ts';

/** Stands before a reader who comes later. What comes too early is kept for him; the connection gives no more than one read of it. */
export class Gate implements Reader {
  #take: ((bytes: Buffer) => void) | null = null;
  #early: Buffer[] = [];

  onRead(bytes: Buffer): void {
    if (this.#take === null) this.#early.push(Buffer.from(bytes));
    else this.#take(bytes);
  }

  /** Until another one takes it. */
  lead(take: (bytes: Buffer) => void): void {
    this.#take = take;
  }

  /** Once whoever gets the socket has had his turn to look after it. */
  handOver(reader: Reader, rest: Buffer): void {
    if (rest.length === 0) {
      this.#take = (bytes) => reader.onRead(bytes);
      return;
    }
    this.#take = null;
    this.#early = [Buffer.from(rest)];
    setImmediate(() => {
      for (const piece of this.#early.splice(0)) reader.onRead(piece);
      this.#take = (bytes) => reader.onRead(bytes);
    });
  }
}

export interface Awaited {
  /** Exactly once, unless `stop` was called: the line, or null where what came is none. `rest` came behind it. */
  readonly onLine: (line: string | null, rest: Buffer) => void;
  /** Instead: the connection has ended, null where by itself. */
  readonly onGone: (error: Error | null) => void;
}

/** @param gate through which the socket is read; null: it is read as a stream. @returns stops waiting. */
export function awaitLine(socket: Socket, gate: Gate | null, { onLine, onGone }: Awaited): () => void {
  const lines = createLineReader();
  const stop = (): void => {
    socket.off('error', gone);
    socket.off('close', ended);
    socket.off('end', ended);
    socket.off('readable', onReadable);
  };
  const gone = (error: Error | null): void => {
    stop();
    onGone(error);
  };
  const ended = (): void => gone(null);
  const take = (bytes: Buffer): boolean => {
    const read = lines.push(bytes);
    if (read === null) return false;
    stop();
    if (read === 'long') onLine(null, bytes.subarray(0, 0));
    else onLine(read.line, read.rest);
    return true;
  };
  const onReadable = (): void => {
    for (let bytes: unknown = socket.read(); Buffer.isBuffer(bytes) && !take(bytes); bytes = socket.read());
  };
  socket.on('error', gone);
  socket.on('close', ended);
  socket.on('end', ended);
  if (gate === null) socket.on('readable', onReadable);
  else {
    gate.lead(take);
    socket.resume();
  }
  return stop;
}
