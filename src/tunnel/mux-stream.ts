// One of the streams that share a connection. What it may say is bounded by the window that the other side gives, and what it keeps for a
// reader that is slow by the window that it gives itself, which grows as long as its reader takes what comes.

import { FRAME } from './mux-frames.ts';
import type { FrameKind } from './mux-frames.ts';

/** Hears of one stream. Nothing is heard after `onReset`, and after both directions have ended. */
export interface StreamObserver {
  /** Whoever takes it says so by `consumed`, now or later. */
  onData(bytes: Buffer): void;
  /** The other side says no more. */
  onEnd(): void;
  /** It broke off, by the other side or with the connection. */
  onReset(why: string): void;
  /** After a write that returned false: there is room again. */
  onDrain(): void;
}

/** The connection of a stream. */
export interface StreamOwner {
  wantsTurn(stream: MuxStream): void;
  send(kind: FrameKind, id: number, body?: string | number): void;
  /** Room for a window, of what all have together. @returns how much there is of it */
  grow(wanted: number): number;
  forget(stream: MuxStream): void;
}

/** What each side of a stream may say before it hears that something was taken. */
const WINDOW_BYTES = 64 * 1024;
/** What a window grows to. */
const MOST_WINDOW_BYTES = 1024 * 1024;
/** Waits here to be said at most, or a little more: one piece. */
const QUEUE_BYTES = 64 * 1024;

const NOBODY: StreamObserver = { onData: () => undefined, onEnd: () => undefined, onReset: () => undefined, onDrain: () => undefined };

export class MuxStream {
  readonly id: number;
  /** As whoever opened it has named it. */
  readonly kind: string;
  observer: StreamObserver = NOBODY;
  /** Of the window here, beyond what every stream has. */
  grown = 0;
  readonly #owner: StreamOwner;
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  /** What the other side still takes. */
  #sendWindow = WINDOW_BYTES;
  /** What it may still say. */
  #receiveWindow = WINDOW_BYTES;
  /** Taken by the reader, and not told. */
  #consumedBytes = 0;
  #wasFull = false;
  #ending = false;
  #ended = false;
  #peerEnded = false;
  #over = false;

  constructor(owner: StreamOwner, id: number, kind: string) {
    this.#owner = owner;
    this.id = id;
    this.kind = kind;
  }

  get over(): boolean {
    return this.#over;
  }

  /** The bytes are kept until they have left. False: no more until onDrain. */
  write(bytes: Buffer): boolean {
    if (this.#over || this.#ending || bytes.length === 0) return true;
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    this.#askTurn();
    this.#wasFull = this.#queuedBytes >= QUEUE_BYTES;
    return !this.#wasFull;
  }

  /** Says no more, behind what is written. */
  end(): void {
    if (this.#over || this.#ending) return;
    this.#ending = true;
    this.#owner.wantsTurn(this);
  }

  reset(why: string): void {
    if (this.#over) return;
    this.#owner.send(FRAME.reset, this.id, why);
    this.#close();
  }

  /** The reader has taken so much of what it was given. */
  consumed(bytes: number): void {
    if (this.#over || this.#peerEnded) return;
    this.#consumedBytes += bytes;
    const window = WINDOW_BYTES + this.grown;
    if (this.#consumedBytes < window / 2) return;
    // The window is what holds the other side up, and not what there is to say.
    const growth = this.#receiveWindow <= window / 2 ? this.#owner.grow(Math.min(window, MOST_WINDOW_BYTES - window)) : 0;
    this.grown += growth;
    const more = this.#consumedBytes + growth;
    this.#consumedBytes = 0;
    this.#receiveWindow += more;
    this.#owner.send(FRAME.window, this.id, more);
  }

  // What its connection tells it.

  /** Gives what may leave now, at most so much. @returns whether there is more that may */
  give(mostBytes: number, to: (bytes: Buffer) => void): boolean {
    let left = Math.min(mostBytes, this.#sendWindow);
    while (left > 0) {
      const [first] = this.#queue;
      if (first === undefined) break;
      const bytes = first.length <= left ? first : first.subarray(0, left);
      if (bytes === first) this.#queue.shift();
      else this.#queue[0] = first.subarray(left);
      left -= bytes.length;
      this.#sendWindow -= bytes.length;
      this.#queuedBytes -= bytes.length;
      to(bytes);
    }
    if (this.#wasFull && this.#queuedBytes < QUEUE_BYTES / 2) {
      this.#wasFull = false;
      this.observer.onDrain();
      if (this.#over) return false;
    }
    if (this.#queuedBytes > 0) return this.#sendWindow > 0;
    if (this.#ending && !this.#ended) {
      this.#ended = true;
      this.#owner.send(FRAME.end, this.id);
      if (this.#peerEnded) this.#close();
    }
    return false;
  }

  /** False: it had no room for that. */
  take(bytes: Buffer): boolean {
    this.#receiveWindow -= bytes.length;
    if (this.#receiveWindow < 0 || this.#peerEnded) return false;
    this.observer.onData(bytes);
    return true;
  }

  /** False: no window is so wide. */
  widen(bytes: number): boolean {
    this.#sendWindow += bytes;
    if (this.#sendWindow > 2 * MOST_WINDOW_BYTES) return false;
    this.#askTurn();
    return true;
  }

  /** False: it had ended already. */
  peerEnded(): boolean {
    if (this.#peerEnded) return false;
    this.#peerEnded = true;
    const { observer } = this;
    if (this.#ended) this.#close();
    observer.onEnd();
    return true;
  }

  wasReset(why: string): void {
    if (this.#over) return;
    const { observer } = this;
    this.#close();
    observer.onReset(why);
  }

  #askTurn(): void {
    if (this.#queuedBytes > 0 && this.#sendWindow > 0) this.#owner.wantsTurn(this);
  }

  #close(): void {
    this.#over = true;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.observer = NOBODY;
    this.#owner.forget(this);
  }
}
