// Lines that wait for a file, as bytes. As text each would outlive several collections while it waits, and be copied by every one of
// them; here it is copied once, and the pieces that hold it are used again.

import { Buffer } from 'node:buffer';

/** Whole lines, from the beginning of `bytes` on. */
export interface Piece {
  readonly bytes: Buffer;
  length: number;
  lines: number;
}

const PIECE_BYTES = 144 * 1024;
/** UTF-8 bytes of one UTF-16 unit, at most. */
const MOST_PER_UNIT = 3;

export class LineQueue {
  /** All that waits. */
  length = 0;
  #full: Piece[] = [];
  #last: Piece | null = null;
  #spare: Buffer | null = null;

  push(line: string): void {
    const room = line.length * MOST_PER_UNIT;
    let last = this.#last;
    if (last === null || last.bytes.length - last.length < room) {
      if (last !== null) this.#full.push(last);
      last = { bytes: this.#make(room), length: 0, lines: 0 };
      this.#last = last;
    }
    const written = last.bytes.write(line, last.length);
    last.length += written;
    last.lines += 1;
    this.length += written;
  }

  /** Everything, oldest first; the queue is empty then. */
  take(): readonly Piece[] {
    const pieces = this.#full;
    if (this.#last !== null) pieces.push(this.#last);
    this.#full = [];
    this.#last = null;
    this.length = 0;
    return pieces;
  }

  /** The bytes of a piece that was taken are not looked at any more. */
  giveBack(piece: Piece): void {
    if (piece.bytes.length === PIECE_BYTES) this.#spare = piece.bytes;
  }

  #make(room: number): Buffer {
    const spare = this.#spare;
    if (room > PIECE_BYTES) return Buffer.allocUnsafeSlow(room);
    this.#spare = null;
    return spare ?? Buffer.allocUnsafeSlow(PIECE_BYTES);
  }
}
