// Pieces of a body in order. Small ones are copied together, so that many of them cost no more than their bytes: a client that sends its
// body byte by byte would otherwise make an object, and a write, of each.

/** A piece below this joins the one before it. */
const SMALL_BYTES = 1_024;
const BLOCK_BYTES = 4_096;

export class Pieces {
  readonly list: Buffer[] = [];
  bytes = 0;
  /** The last of the list is the filled part of it. */
  #block: Buffer | null = null;
  #filled = 0;

  /** The caller gives the piece away. */
  add(piece: Buffer): void {
    const { list } = this;
    this.bytes += piece.length;
    if (piece.length >= SMALL_BYTES || list.length === 0) {
      list.push(piece);
      this.#block = null;
      return;
    }
    if (this.#block === null || this.#filled + piece.length > BLOCK_BYTES) {
      this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
      this.#filled = 0;
      list.push(this.#block);
    }
    piece.copy(this.#block, this.#filled);
    this.#filled += piece.length;
    list[list.length - 1] = this.#block.subarray(0, this.#filled);
  }
}
