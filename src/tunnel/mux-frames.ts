// How streams that share one connection stand on it: a head of eight bytes, then the frame's own. Data is handed on as it comes, so that a
// frame takes no memory before it is whole; everything else is short. What cannot be a frame ends the connection.

export const FRAME = { open: 1, data: 2, window: 3, end: 4, reset: 5, ping: 6, pong: 7, goAway: 8 } as const;

/** Kinds of streams between a laptop and an Edge: what comes for its program, and what that calls. */
export const REQUEST_STREAM = 'tcp';
export const CALL_STREAM = 'apiproxy';

export type FrameKind = (typeof FRAME)[keyof typeof FRAME];

/** Bytes of the length (3), the kind (1) and the id of the stream (4). */
const HEAD_BYTES = 8;
/** Of data in one frame. */
export const DATA_BYTES = 64 * 1024;
/** Of everything that is not data. */
const TEXT_BYTES = 512;
/** Ids of streams that can be told. */
export const MOST_ID = 2 ** 31 - 1;

/** @param body for data: what follows. Its bytes are not copied. */
export function frameHead(kind: FrameKind, id: number, bodyBytes: number): Buffer {
  const head = Buffer.allocUnsafe(HEAD_BYTES);
  head.writeUIntBE(bodyBytes, 0, 3);
  head.writeUInt8(kind, 3);
  head.writeUInt32BE(id, 4);
  return head;
}

/** A frame that is not data. Text that is too long is cut. */
export function shortFrame(kind: FrameKind, id: number, body: string | number = ''): Buffer {
  const bytes = typeof body === 'number' ? Buffer.alloc(4) : Buffer.from(body).subarray(0, TEXT_BYTES);
  if (typeof body === 'number') bytes.writeUInt32BE(body);
  return Buffer.concat([frameHead(kind, id, bytes.length), bytes]);
}

export interface FrameSink {
  /** A part of a data frame, in the memory that was pushed. Parts that are empty are not told. */
  onData(id: number, bytes: Buffer): void;
  onFrame(kind: Exclude<FrameKind, 2>, id: number, body: Buffer): void;
}

/** Finds the frames in what comes, whatever its pieces are. */
export class FrameParser {
  readonly #head = Buffer.alloc(HEAD_BYTES);
  #headBytes = 0;
  #kind: FrameKind = FRAME.ping;
  #id = 0;
  #left = 0;
  #body: Buffer[] = [];

  /** @returns what is wrong with it, null: nothing. Nothing more may be pushed then. */
  push(bytes: Buffer, sink: FrameSink): string | null {
    let at = 0;
    for (;;) {
      if (this.#headBytes < HEAD_BYTES) {
        if (at === bytes.length) return null;
        const copied = bytes.copy(this.#head, this.#headBytes, at);
        this.#headBytes += copied;
        at += copied;
        if (this.#headBytes < HEAD_BYTES) return null;
        const problem = this.#begin();
        if (problem !== null) return problem;
      }
      const piece = bytes.subarray(at, at + this.#left);
      at += piece.length;
      this.#left -= piece.length;
      if (this.#kind === FRAME.data) {
        if (piece.length > 0) sink.onData(this.#id, piece);
      } else if (this.#left > 0) this.#body.push(Buffer.from(piece));
      else sink.onFrame(this.#kind, this.#id, this.#body.length === 0 ? piece : Buffer.concat([...this.#body.splice(0), piece]));
      if (this.#left > 0) return null;
      this.#headBytes = 0;
    }
  }

  #begin(): string | null {
    const kind = KINDS.get(this.#head.readUInt8(3));
    this.#left = this.#head.readUIntBE(0, 3);
    this.#id = this.#head.readUInt32BE(4);
    if (kind === undefined) return 'a frame of an unknown kind';
    if (this.#left > (kind === FRAME.data ? DATA_BYTES : TEXT_BYTES)) return 'a frame that is too long';
    if (this.#id > MOST_ID) return 'a stream without a number';
    this.#kind = kind;
    return null;
  }
}

const KINDS: ReadonlyMap<number, FrameKind> = new Map(Object.values(FRAME).map((kind) => [kind, kind]));
