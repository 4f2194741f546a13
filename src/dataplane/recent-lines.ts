// The latest lines, as bytes in a ring that is written over and over: kept as text, each would live just long enough to be copied by
// every collection, which costs a request more than everything else that is remembered of it.

import { Buffer } from 'node:buffer';

const RING_BYTES = 256 * 1024;
/** UTF-8 bytes of one UTF-16 unit, at most. */
const MOST_PER_UNIT = 3;

export class RecentLines {
  readonly #starts: Float64Array;
  readonly #lengths: Uint32Array;
  #bytes: Buffer | null = null;
  /** Place of the next line among the last `count`. */
  #next = 0;
  /** Bytes so far, those that were passed over included. */
  #at = 0;

  /** @param count of lines that are kept, as far as there is room for them. */
  constructor(count: number) {
    this.#starts = new Float64Array(count).fill(-Infinity);
    this.#lengths = new Uint32Array(count);
  }

  push(line: string): void {
    const room = line.length * MOST_PER_UNIT;
    // None comes near it; one that did would push out all others.
    if (room > RING_BYTES) return;
    this.#bytes ??= Buffer.allocUnsafeSlow(RING_BYTES);
    let place = this.#at % RING_BYTES;
    if (place + room > RING_BYTES) {
      this.#at += RING_BYTES - place;
      place = 0;
    }
    const length = this.#bytes.write(line, place);
    this.#starts[this.#next] = this.#at;
    this.#lengths[this.#next] = length;
    this.#at += length;
    this.#next = (this.#next + 1) % this.#starts.length;
  }

  /** Oldest first. */
  all(): readonly string[] {
    const lines: string[] = [];
    const count = this.#starts.length;
    for (let step = 0; step < count; step += 1) {
      const index = (this.#next + step) % count;
      const start = this.#starts[index] ?? -Infinity;
      const place = start % RING_BYTES;
      // Not written over since.
      if (start >= this.#at - RING_BYTES) lines.push(this.#bytes?.toString('utf8', place, place + (this.#lengths[index] ?? 0)) ?? '');
    }
    return lines;
  }
}
