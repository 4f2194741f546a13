// What leaves on a socket: pieces that follow each other at once go out in one write. Text is latin1.

import type { Socket } from 'node:net';

/** Together they are copied into one buffer; a longer piece leaves by itself, uncopied. */
const JOIN_BYTES = 16 * 1_024;
/** Below this a piece joins the text: one short latin1 write costs less than a buffer of its own. */
const JOIN_TEXT_BYTES = 4 * 1_024;

/** Whose text leaves at the end of this turn of the event loop. */
let soon: Output[] = [];

function endTurn(): void {
  const outputs = soon;
  soon = [];
  for (const output of outputs) output.flushQueued();
}

export class Output {
  /** Times that something was written. */
  writes = 0;
  readonly #socket: Socket;
  #queued = false;
  #text = '';
  #pieces: Buffer[] | null = null;
  #bytes = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  get waiting(): boolean {
    return this.#text !== '' || this.#pieces !== null;
  }

  /** Bytes that the socket has not taken yet. */
  get unsent(): number {
    return this.#bytes + this.#text.length + this.#socket.writableLength;
  }

  text(text: string): void {
    this.#text += text;
  }

  /** The caller gives the piece away. */
  piece(piece: Buffer): void {
    if (this.#pieces === null && piece.length <= JOIN_TEXT_BYTES && this.#text.length <= JOIN_TEXT_BYTES) {
      this.#text += piece.toString('latin1');
      return;
    }
    if (this.#pieces === null) this.#pieces = [];
    if (this.#text !== '') this.#sealText();
    this.#pieces.push(piece);
    this.#bytes += piece.length;
  }

  #sealText(): void {
    const sealed = Buffer.from(this.#text, 'latin1');
    this.#text = '';
    this.#pieces?.push(sealed);
    this.#bytes += sealed.length;
  }

  /** It waits for the end of the turn. */
  get queued(): boolean {
    return this.#queued;
  }

  /**
   * Writes what waits at the end of this turn, together with what others write then: the one who reads wakes up once for many, and waking
   * it is the dearest part of a short write.
   */
  flushSoon(): void {
    if (this.#queued) return;
    this.#queued = true;
    if (soon.push(this) === 1) setImmediate(endTurn);
  }

  /** What was to leave at the end of the turn leaves now. */
  flushQueued(): void {
    if (!this.#queued) return;
    this.#queued = false;
    if (this.waiting && !this.#socket.destroyed) this.flush();
  }

  /** Writes what waits; false where the socket wants no more for now. */
  flush(): boolean {
    const socket = this.#socket;
    if (this.#pieces === null) {
      if (this.#text === '') return !socket.writableNeedDrain;
      const text = this.#text;
      this.#text = '';
      this.writes += 1;
      return socket.write(text, 'latin1');
    }
    if (this.#text !== '') this.#sealText();
    this.writes += 1;
    const pieces = this.#pieces;
    const bytes = this.#bytes;
    this.#pieces = null;
    this.#bytes = 0;
    const [first] = pieces;
    if (first !== undefined && pieces.length === 1) return socket.write(first);
    if (bytes <= JOIN_BYTES) return socket.write(Buffer.concat(pieces, bytes));
    socket.cork();
    let room = true;
    for (const piece of pieces) room = socket.write(piece);
    socket.uncork();
    return room;
  }
}
