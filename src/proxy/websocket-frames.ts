// Follows the frames of one direction of a WebSocket (RFC 6455 §5.2) just closely enough to know where one ends, because only there may
// the proxy say something of its own: that it is going away. It holds a few numbers, since there may be ten thousand of it.

export class FrameTracker {
  /** Bytes of the current frame's head so far. */
  #headBytes = 0;
  /** Bytes that the current head has, as far as is known. */
  #headLength = 2;
  #payload = 0;
  /** Payload bytes still to come. */
  #left = 0;

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, chunk.length - at);
        this.#left -= taken;
        at += taken;
        continue;
      }
      this.#headByte(chunk[at] ?? 0);
      at += 1;
    }
  }

  #headByte(byte: number): void {
    const index = this.#headBytes;
    this.#headBytes += 1;
    if (index === 1) {
      const length = byte & 0x7f;
      const extended = length === 126 ? 2 : length === 127 ? 8 : 0;
      this.#payload = extended === 0 ? length : 0;
      this.#headLength = 2 + extended + ((byte & 0x80) === 0 ? 0 : 4);
    } else if (index > 1 && index < this.#headLength - (this.#masked ? 4 : 0)) {
      // Beyond 2^53 the number is only large, which is all that matters.
      this.#payload = this.#payload * 256 + byte;
    }
    if (this.#headBytes < this.#headLength) return;
    this.#left = this.#payload;
    this.#headBytes = 0;
    this.#headLength = 2;
  }

  /** Heads have 2, 4 or 10 bytes, and 4 more with a mask. */
  get #masked(): boolean {
    return this.#headLength === 6 || this.#headLength === 8 || this.#headLength === 14;
  }

  /** True between two frames. */
  get atBoundary(): boolean {
    return this.#headBytes === 0 && this.#left === 0;
  }
}

/** 1001, "going away" (RFC 6455 §7.4.1). */
const GOING_AWAY = [0x03, 0xe9] as const;

/** A close frame; towards a server it is masked, as RFC 6455 §5.3 asks, with a mask of zeros. */
export function goingAwayFrame(to: 'client' | 'target'): Buffer {
  return to === 'client' ? Buffer.from([0x88, 0x02, ...GOING_AWAY]) : Buffer.from([0x88, 0x82, 0, 0, 0, 0, ...GOING_AWAY]);
}
