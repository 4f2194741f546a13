// What leaves on a socket: pieces that follow each other at once go out in one write. Text is latin1.

import type { Socket } from 'node:net';
import { kept } from '../../sys/reader.ts';

/** Together they are put into one buffer; a longer piece leaves by itself, uncopied. */
const JOIN_BYTES = 16 * 1_024;
const SLAB_BYTES = 128 * 1_024;
const NOTHING = Buffer.alloc(0);

/**
 * Memory in which short answers are put together, for all connections one behind the other. Once the system has taken all that stood in
 * it, it is used again from its beginning; where a socket keeps something for later, it is filled up and left to the collector.
 */
class Slab {
  readonly bytes = Buffer.allocUnsafeSlow(SLAB_BYTES);
  at = 0;
  #held = 0;

  hold(): void {
    this.#held += 1;
  }

  release(): void {
    this.#held -= 1;
    if (this.#held === 0) this.at = 0;
  }
}

let current: Slab | null = null;

function slabFor(bytes: number): Slab {
  if (current === null || SLAB_BYTES - current.at < bytes) current = new Slab();
  return current;
}

/** What leaves at the end of this turn of the event loop. */
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
  /** Before `#from`, each by itself. */
  #pieces: Buffer[] | null = null;
  #bytes = 0;
  /** Null: nothing of it stands in one. */
  #slab: Slab | null = null;
  #from = 0;
  #to = 0;
  /** Behind all else. */
  #text = '';

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  get waiting(): boolean {
    return this.#text !== '' || this.#slab !== null || this.#pieces !== null;
  }

  /** Bytes that the socket has not taken yet. */
  get unsent(): number {
    const inSlab = this.#slab === null ? 0 : this.#to - this.#from;
    return this.#bytes + inSlab + this.#text.length + this.#socket.writableLength;
  }

  text(text: string): void {
    this.#text += text;
    // While the next place in the slab is its own.
    if (this.#slab?.at === this.#to) this.#put(NOTHING);
  }

  /** The caller gives the piece away, or will use its memory again: that is as `kept` knows. */
  piece(piece: Buffer): void {
    if (this.#text.length + piece.length <= JOIN_BYTES) {
      this.#put(piece);
      return;
    }
    if (this.#text !== '') this.#put(NOTHING);
    this.#add(kept(piece));
  }

  /** The text and then the piece into a slab, behind what of this stands there already. */
  #put(piece: Buffer): void {
    const text = this.#text;
    const bytes = text.length + piece.length;
    if (bytes > SLAB_BYTES) {
      // Many short answers of one turn: no slab takes so much, and there is no piece with it.
      this.#text = '';
      this.#add(Buffer.from(text, 'latin1'));
      return;
    }
    let slab = this.#slab;
    if (slab === null || slab.at !== this.#to || SLAB_BYTES - slab.at < bytes) {
      this.#seal();
      slab = slabFor(bytes);
      slab.hold();
      this.#slab = slab;
      this.#from = slab.at;
    }
    let { at } = slab;
    if (text !== '') {
      this.#text = '';
      at += slab.bytes.write(text, at, 'latin1');
    }
    slab.bytes.set(piece, at);
    at += piece.length;
    slab.at = at;
    this.#to = at;
  }

  /** What stands in the slab is a piece; nothing says when it is over, so that this slab is not used again. */
  #seal(): void {
    const slab = this.#slab;
    if (slab === null) return;
    this.#slab = null;
    this.#add(slab.bytes.subarray(this.#from, this.#to));
  }

  #add(piece: Buffer): void {
    if (this.#slab !== null) this.#seal();
    (this.#pieces ??= []).push(piece);
    this.#bytes += piece.length;
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
    if (!this.waiting) return !socket.writableNeedDrain;
    this.writes += 1;
    if (this.#pieces !== null) return this.#flushPieces();
    const slab = this.#slab;
    if (slab === null) {
      const text = this.#text;
      this.#text = '';
      return socket.write(text, 'latin1');
    }
    if (this.#text !== '') this.#put(NOTHING);
    // The text did not fit any more.
    if (this.#pieces !== null) return this.#flushPieces();
    this.#slab = null;
    const room = socket.write(slab.bytes.subarray(this.#from, this.#to));
    // The system has all of it.
    if (socket.writableLength === 0) slab.release();
    return room;
  }

  #flushPieces(): boolean {
    const socket = this.#socket;
    if (this.#text !== '') this.#put(NOTHING);
    this.#seal();
    const pieces = this.#pieces ?? [];
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
