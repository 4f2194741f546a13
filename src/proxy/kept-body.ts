// The part of a request body that was read already, kept up to a bound, so that a try that failed can be repeated elsewhere.

import type { Fields } from './fields.ts';
import type { UpstreamStream } from './message.ts';
import { Pieces } from './pieces.ts';

export class KeptBody {
  bytes = 0;
  /** All of it has been read. */
  ended: boolean;
  trailers: Fields | null = null;
  readonly #limitBytes: number;
  #pieces: Pieces | null = null;
  /** Some of it was read and is not kept. */
  #lost = false;

  constructor(ended: boolean, limitBytes: number) {
    this.ended = ended;
    this.#limitBytes = limitBytes;
  }

  /** True while everything that was read so far could be sent again. */
  get replayable(): boolean {
    return !this.#lost;
  }

  add(piece: Buffer): void {
    this.bytes += piece.length;
    if (this.#lost) return;
    if (this.bytes > this.#limitBytes) {
      this.#lost = true;
      this.#pieces = null;
    } else {
      this.#pieces ??= new Pieces();
      this.#pieces.add(piece);
    }
  }

  sendTo(upstream: UpstreamStream): void {
    for (const piece of this.#pieces?.list ?? []) upstream.sendData(piece);
  }
}
