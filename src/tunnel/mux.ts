// Many streams over one connection. Each has a window of its own, so that one whose reader stalls holds back neither the others nor the
// connection, and takes no more memory than its window; ids, streams, windows and what waits to leave are bounded. Whoever hears nothing for
// a while takes the other side for gone. Both sides are the same but for the parity of the ids that they give.

import type { Clock } from '../lib/clock.ts';
import { DATA_BYTES, FRAME, frameHead, FrameParser, MOST_ID, shortFrame } from './mux-frames.ts';
import type { FrameKind, FrameSink } from './mux-frames.ts';
import { MuxStream } from './mux-stream.ts';
import type { StreamObserver, StreamOwner } from './mux-stream.ts';

/** What the streams share. Bytes that come are given to `push`. */
export interface MuxCarrier {
  /** False: no more until `drained`. The bytes may be kept. */
  write(bytes: Buffer): boolean;
  /** Nothing is said on it any more. */
  close(): void;
}

export interface MuxOptions {
  readonly carrier: MuxCarrier;
  /** Ids of streams that are opened here are odd; on the other side even. */
  readonly odd: boolean;
  readonly clock: Clock;
  /** The other side opens one; null: nobody takes such ones. Called before anything of it has come. */
  readonly onOpen: (stream: MuxStream) => StreamObserver | null;
  /** Once, with all streams ended: why. Null: it was closed here. */
  readonly onClosed: (why: string | null) => void;
  /** The other side takes no new streams; those that there are go on. */
  readonly onGoAway?: (why: string) => void;
  readonly limits?: Partial<MuxLimits>;
}

export interface MuxLimits {
  /** Open at the same time, whoever opened them. */
  readonly streams: number;
  /** What windows may grow to in all, beyond what each stream begins with. */
  readonly growthBytes: number;
  /** Something is said at least so often, and nothing heard for so long means that nobody is there. */
  readonly pingMs: number;
  readonly silenceMs: number;
}

export interface Mux {
  /** Bytes that came on the carrier. */
  push(bytes: Buffer): void;
  /** The carrier takes more. */
  drained(): void;
  /** The carrier has ended. */
  lost(why: string): void;
  /** Null: there are too many, or one side is about to leave. */
  open(kind: string, observer: StreamObserver): MuxStream | null;
  /** No new streams from the other side, please. */
  goAway(why: string): void;
  close(): void;
  readonly streams: number;
  /** Time of the last ping and its answer; null before the first. */
  readonly roundTripMs: number | null;
}

const MUX_LIMITS: MuxLimits = { streams: 512, growthBytes: 32 * 1024 * 1024, pingMs: 400, silenceMs: 1_400 };

/** Of one stream at a time, before the next one has its turn. */
const TURN_BYTES = 16 * 1024;
/** What leaves together at most. */
const BATCH_BYTES = 64 * 1024;
/** Frames beside data that wait to leave. Whoever lets them gather asks without listening. */
const CONTROL_BYTES = 256 * 1024;

export function createMux(options: MuxOptions): Mux {
  return new Connection(options);
}

class Connection implements Mux, FrameSink, StreamOwner {
  readonly #options: MuxOptions;
  readonly #limits: MuxLimits;
  readonly #parser = new FrameParser();
  readonly #streams = new Map<number, MuxStream>();
  /** Those that have something to say and may; each has its turn. */
  readonly #ready = new Set<MuxStream>();
  #batch: Buffer[] = [];
  #batchBytes = 0;
  #controlBytes = 0;
  #scheduled = false;
  #full = false;
  #over = false;
  #leaving = false;
  #nextId: number;
  #lastPeerId = 0;
  #growthLeft: number;
  #heardMs: number;
  #beatMs: number;
  #pingedMs: number | null = null;
  #cancelPing: () => void;
  roundTripMs: number | null = null;

  constructor(options: MuxOptions) {
    this.#options = options;
    this.#limits = { ...MUX_LIMITS, ...options.limits };
    this.#nextId = options.odd ? 1 : 2;
    this.#growthLeft = this.#limits.growthBytes;
    this.#heardMs = options.clock.monotonic();
    this.#beatMs = this.#heardMs;
    this.#cancelPing = options.clock.timer(this.#limits.pingMs, () => this.#beat());
  }

  get streams(): number {
    return this.#streams.size;
  }

  push(bytes: Buffer): void {
    if (this.#over) return;
    this.#heardMs = this.#options.clock.monotonic();
    const problem = this.#parser.push(bytes, this);
    if (problem !== null) this.#finish(`it sent ${problem}`);
  }

  drained(): void {
    this.#full = false;
    this.#flush();
  }

  lost(why: string): void {
    this.#finish(why);
  }

  open(kind: string, observer: StreamObserver): MuxStream | null {
    if (this.#over || this.#leaving || this.#streams.size >= this.#limits.streams || this.#nextId > MOST_ID) return null;
    const stream = new MuxStream(this, this.#nextId, kind);
    this.#nextId += 2;
    stream.observer = observer;
    this.#streams.set(stream.id, stream);
    this.#control(shortFrame(FRAME.open, stream.id, kind));
    return stream;
  }

  goAway(why: string): void {
    if (!this.#over) this.#control(shortFrame(FRAME.goAway, 0, why));
  }

  close(): void {
    // What was said last shall be heard, so far as the carrier takes it.
    this.#flush();
    this.#finish(null);
  }

  // What streams ask of their connection.

  wantsTurn(stream: MuxStream): void {
    if (this.#over) return;
    this.#ready.add(stream);
    this.#schedule();
  }

  send(kind: FrameKind, id: number, body: string | number = ''): void {
    if (!this.#over) this.#control(shortFrame(kind, id, body));
  }

  grow(wanted: number): number {
    const granted = Math.min(wanted, this.#growthLeft);
    this.#growthLeft -= granted;
    return granted;
  }

  forget(stream: MuxStream): void {
    this.#ready.delete(stream);
    if (this.#streams.delete(stream.id)) this.#growthLeft += stream.grown;
  }

  // What comes.

  onData(id: number, bytes: Buffer): void {
    if (this.#over) return;
    const stream = this.#streams.get(id);
    // Of one that has ended here meanwhile something may be on its way.
    if (stream === undefined) return this.#checkKnown(id);
    if (!stream.take(bytes)) this.#finish('it sent more than a stream has room for');
  }

  onFrame(kind: Exclude<FrameKind, 2>, id: number, body: Buffer): void {
    if (this.#over) return;
    switch (kind) {
      case FRAME.open:
        return this.#opened(id, body.toString());
      case FRAME.ping:
        return this.send(FRAME.pong, 0);
      case FRAME.pong:
        if (this.#pingedMs !== null) this.roundTripMs = this.#options.clock.monotonic() - this.#pingedMs;
        this.#pingedMs = null;
        return;
      case FRAME.goAway:
        this.#leaving = true;
        return this.#options.onGoAway?.(body.toString());
      case FRAME.window:
      case FRAME.end:
      case FRAME.reset: {
        const stream = this.#streams.get(id);
        if (stream === undefined) return this.#checkKnown(id);
        if (kind === FRAME.reset) return stream.wasReset(body.toString());
        if (kind === FRAME.window && (body.length !== 4 || !stream.widen(body.readUInt32BE())))
          return this.#finish('it sent a window that is none');
        if (kind === FRAME.end && !stream.peerEnded()) return this.#finish('it ended a stream twice');
      }
    }
  }

  #opened(id: number, kind: string): void {
    if (id <= this.#lastPeerId || id % 2 === (this.#options.odd ? 1 : 0))
      return this.#finish('it gave a number to a stream that is not its to give');
    this.#lastPeerId = id;
    if (this.#streams.size >= this.#limits.streams) return this.send(FRAME.reset, id, 'there are too many streams');
    const stream = new MuxStream(this, id, kind);
    this.#streams.set(id, stream);
    const observer = this.#options.onOpen(stream);
    if (observer === null) stream.reset('nobody takes such a stream');
    else stream.observer = observer;
  }

  /** A frame of a stream that never was is nonsense; of one that is over it came too late. */
  #checkKnown(id: number): void {
    const isPeers = id % 2 === (this.#options.odd ? 0 : 1);
    if (id === 0 || (isPeers ? id > this.#lastPeerId : id >= this.#nextId)) this.#finish('it spoke of a stream that never was');
  }

  // What leaves.

  #control(frame: Buffer): void {
    this.#batch.push(frame);
    this.#batchBytes += frame.length;
    this.#controlBytes += frame.length;
    if (this.#controlBytes > CONTROL_BYTES) return this.#finish('it asks and does not listen');
    this.#schedule();
  }

  /** At the end of the turn: what comes about by one event leaves together. */
  #schedule(): void {
    if (this.#scheduled || this.#full) return;
    this.#scheduled = true;
    process.nextTick(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    while (!this.#over && !this.#full) {
      for (const stream of this.#ready) {
        if (this.#batchBytes >= BATCH_BYTES) break;
        this.#ready.delete(stream);
        // Alone it need not share: fewer and larger frames.
        const taken = stream.give(this.#ready.size === 0 ? DATA_BYTES : TURN_BYTES, (bytes) => this.#data(stream.id, bytes));
        if (taken) this.#ready.add(stream);
      }
      if (this.#batchBytes === 0) return;
      // Copied into one: a write of the system is dearer than that, and over TLS far more so.
      const bytes = Buffer.concat(this.#batch, this.#batchBytes);
      this.#batch = [];
      this.#batchBytes = 0;
      this.#controlBytes = 0;
      this.#full = !this.#options.carrier.write(bytes);
    }
  }

  #data(id: number, bytes: Buffer): void {
    const head = frameHead(FRAME.data, id, bytes.length);
    this.#batch.push(head, bytes);
    this.#batchBytes += head.length + bytes.length;
  }

  #beat(): void {
    const { clock } = this.#options;
    const nowMs = clock.monotonic();
    const { pingMs, silenceMs } = this.#limits;
    // After a sleep or a long turn of this process, what has come meanwhile is yet to be read.
    const isLate = nowMs - this.#beatMs > 2 * pingMs;
    this.#beatMs = nowMs;
    if (!isLate && nowMs - this.#heardMs >= silenceMs) return this.#finish(`nothing came for ${silenceMs} ms`);
    this.#pingedMs ??= nowMs;
    this.#control(shortFrame(FRAME.ping, 0));
    this.#cancelPing = clock.timer(pingMs, () => this.#beat());
  }

  #finish(why: string | null): void {
    if (this.#over) return;
    this.#over = true;
    this.#cancelPing();
    this.#batch = [];
    this.#ready.clear();
    this.#options.carrier.close();
    for (const stream of this.#streams.values()) stream.wasReset(why ?? 'the connection was closed');
    this.#streams.clear();
    this.#options.onClosed(why);
  }
}
