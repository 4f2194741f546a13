// Reads what log-segments.ts writes: whole lines per stream, from any position, with following. What was deleted meanwhile is reported
// as one line in its place, never silently skipped; memory is bounded whatever the log holds.

import { open, readdir } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../lib/failure.ts';
import type { Clock } from '../lib/clock.ts';
import { decodeStart, FRAME_HEADER_BYTES, FRAME_KIND, FRAME_MAGIC, FRAME_MAX_BYTES, segmentName, START_BYTES } from './log-segments.ts';
import type { SegmentStart } from './log-segments.ts';

/** Lines are split here. */
export const LINE_MAX_BYTES = 64 * 1024;
const POLL_MS = 100;
const READ_BYTES = 4 * (FRAME_MAX_BYTES + FRAME_HEADER_BYTES);
const MAX_TAIL = 100_000;

type Stream = 'stdout' | 'stderr';

export interface SegmentLine {
  readonly atMs: number;
  readonly stream: Stream;
  readonly text: string;
  readonly cursor: string;
}

export interface ReadLogOptions {
  /** Last lines to begin with; undefined: from the oldest kept. At most 100,000. */
  readonly tail?: number | undefined;
  /** Begin after the line with this cursor. Stronger than `tail`. */
  readonly after?: string | undefined;
  readonly follow: boolean;
  /** Leaves out a last line that may still go on. */
  readonly wholeLines?: boolean | undefined;
  readonly signal: AbortSignal;
  readonly clock: Clock;
}

/** A place in the log: `at` counts every byte that the log ever took, `n` counts into the frame that begins there. */
interface Position {
  readonly at: number;
  readonly n: number;
}

interface Frame {
  readonly kind: 'output' | 'lost' | 'end';
  readonly stream: Stream;
  readonly atMs: number;
  readonly at: number;
  readonly next: number;
  readonly payload: Buffer;
  readonly lostBytes: number;
}

interface Segment {
  readonly number: number;
  readonly handle: FileHandle;
  readonly base: number;
  readonly midLine: Readonly<Record<Stream, boolean>>;
}

async function listNumbers(folder: string): Promise<number[]> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch {
    return [];
  }
  return names
    .filter((name) => /^\d{8,}\.log$/.test(name))
    .map((name) => Number.parseInt(name, 10))
    .sort((a, b) => a - b);
}

async function openSegment(folder: string, number: number, expectedBase: number): Promise<Segment | null> {
  let handle: FileHandle;
  try {
    handle = await open(join(folder, segmentName(number)), 'r');
  } catch {
    return null;
  }
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES + START_BYTES);
  let start: SegmentStart | null = null;
  try {
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0);
    if (bytesRead === bytes.length) start = decodeStart(bytes);
  } catch (error) {
    await handle.close();
    throw error;
  }
  return { number, handle, base: start?.base ?? expectedBase, midLine: start?.midLine ?? { stdout: true, stderr: true } };
}

/** The oldest segment numbered at least `least`; null where there is none. */
async function openFrom(folder: string, least: number, expectedBase: number): Promise<Segment | null> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const number = (await listNumbers(folder)).find((each) => each >= least);
    if (number === undefined) return null;
    const segment = await openSegment(folder, number, expectedBase);
    if (segment !== null) return segment; // else it was deleted between the listing and the opening
  }
  return null;
}

/** The segment that holds position `at`, or the oldest one after it. */
async function openAt(folder: string, at: number): Promise<Segment | null> {
  let found: Segment | null = null;
  for (const number of (await listNumbers(folder)).reverse()) {
    const segment = await openSegment(folder, number, 0);
    if (segment === null) break;
    await found?.handle.close();
    found = segment;
    if (segment.base <= at) break;
  }
  return found;
}

const lostFrame = (at: number, next: number, atMs: number, lostBytes: number): Frame => ({
  kind: 'lost',
  stream: 'stderr',
  atMs,
  at,
  next,
  payload: Buffer.alloc(0),
  lostBytes,
});

/** Frames of one segment from `offset` on; returns the offset where whole frames end. */
async function* framesOfSegment(segment: Segment, offset: number, sealed: boolean, clock: Clock): AsyncGenerator<Frame, number> {
  let at = offset;
  const buffer = Buffer.alloc(READ_BYTES);
  for (;;) {
    const { bytesRead } = await segment.handle.read(buffer, 0, buffer.length, at);
    let used = 0;
    while (bytesRead - used >= FRAME_HEADER_BYTES) {
      const kind = buffer.readUInt8(used + 1);
      const atMs = buffer.readUIntLE(used + 2, 6);
      const length = buffer.readUInt32LE(used + 8);
      const position = segment.base + at + used;
      if (buffer.readUInt8(used) !== FRAME_MAGIC || length > FRAME_MAX_BYTES) {
        // Not ours: the machine died while writing. Nothing after it in this segment can be trusted.
        const { size } = await segment.handle.stat();
        yield lostFrame(position, segment.base + size, clock.now(), size - at - used);
        return size;
      }
      const start = used + FRAME_HEADER_BYTES;
      const missing = start + length > bytesRead;
      if (missing && (!sealed || used > 0)) break;
      const payload = Buffer.from(buffer.subarray(start, Math.min(bytesRead, start + length)));
      used = Math.min(bytesRead, start + length);
      const next = segment.base + at + used;
      if (kind === FRAME_KIND.stdout || kind === FRAME_KIND.stderr) {
        const stream = kind === FRAME_KIND.stdout ? 'stdout' : 'stderr';
        yield { kind: 'output', stream, atMs, at: position, next, payload, lostBytes: 0 };
      } else if (kind === FRAME_KIND.dropped && payload.length === 8) {
        yield lostFrame(position, next, atMs, Number(payload.readBigUInt64LE(0)));
      } else if (kind === FRAME_KIND.end) {
        yield { kind: 'end', stream: 'stdout', atMs, at: position, next, payload, lostBytes: 0 };
      }
    }
    at += used;
    if (used === 0) return at;
  }
}

/** Frames of the whole log in order; with `follow` it waits for more until the signal. */
async function* frames(folder: string, from: number | null, options: ReadLogOptions): AsyncGenerator<Frame> {
  const { clock, signal } = options;
  // Without follow, a program that writes faster than we read must not keep us here.
  const last = options.follow ? Infinity : ((await listNumbers(folder)).at(-1) ?? 0);
  let segment: Segment | null = null;
  let next: Segment | null = null;
  let offset = 0;
  try {
    segment = from === null ? null : await openAt(folder, from);
    if (segment !== null && from !== null) {
      if (segment.base > from) yield lostFrame(from, segment.base, clock.now(), segment.base - from);
      else offset = from - segment.base;
    }
    while (!signal.aborted) {
      segment ??= await openFrom(folder, 0, 0);
      if (segment !== null) {
        // Look for a successor first: what is read after that is all that this segment will ever hold.
        next = await openFrom(folder, segment.number + 1, segment.base);
        offset = yield* framesOfSegment(segment, offset, next !== null, clock);
        if (next !== null) {
          if (segment.number >= last) return;
          const end: number = segment.base + (await segment.handle.stat()).size;
          await segment.handle.close();
          segment = next;
          next = null;
          offset = 0;
          if (segment.base > end) yield lostFrame(end, segment.base, clock.now(), segment.base - end);
          continue;
        }
      }
      if (!options.follow) return;
      try {
        await clock.sleep(POLL_MS, signal);
      } catch {
        return;
      }
    }
  } finally {
    await segment?.handle.close();
    await next?.handle.close();
  }
}

interface Pending {
  readonly parts: { readonly bytes: Buffer; readonly at: number; readonly n: number }[];
  length: number;
  readonly atMs: number;
}

type Starts = Readonly<Record<Stream, Position>>;

const formatPosition = (position: Position): string => `${String(position.at).padStart(15, '0')}:${String(position.n).padStart(5, '0')}`;

/** `end` is where reading goes on; a stream that holds an unfinished line adds where that begins. The final dot makes texts sort. */
function formatCursor(end: Position, pending: Readonly<Record<Stream, Pending | null>>): string {
  const [stdout] = pending.stdout?.parts ?? [];
  const [stderr] = pending.stderr?.parts ?? [];
  return `${formatPosition(end)}${stdout ? `-o${formatPosition(stdout)}` : ''}${stderr ? `-e${formatPosition(stderr)}` : ''}.`;
}

function parseCursor(cursor: string): Starts {
  const match = /^(\d{15,16}):(\d{5})(?:-o(\d{15,16}):(\d{5}))?(?:-e(\d{15,16}):(\d{5}))?\.$/.exec(cursor);
  if (match === null) throw new Failure('invalid_input', { message: `“${cursor.slice(0, 80)}” is no position in a log.` });
  const main = { at: Number(match[1]), n: Number(match[2]) };
  return {
    stdout: match[3] === undefined ? main : { at: Number(match[3]), n: Number(match[4]) },
    stderr: match[5] === undefined ? main : { at: Number(match[5]), n: Number(match[6]) },
  };
}

/** Where a line that is too long is cut: never inside a UTF-8 character. */
function cutLength(bytes: Buffer): number {
  let cut = LINE_MAX_BYTES;
  while (cut > LINE_MAX_BYTES - 4 && ((bytes[cut] ?? 0) & 0xc0) === 0x80) cut -= 1;
  return cut;
}

const joined = (pending: Pending): Buffer => Buffer.concat(pending.parts.map((part) => part.bytes));

/** What is left of `pending` after its first `cut` bytes; null: nothing. */
function afterCut(pending: Pending, cut: number): Pending | null {
  let skip = cut;
  const parts: Pending['parts'] = [];
  for (const { bytes, at, n } of pending.parts) {
    if (skip < bytes.length) parts.push({ bytes: bytes.subarray(skip), at, n: n + skip });
    skip = Math.max(0, skip - bytes.length);
  }
  return parts.length === 0 ? null : { parts, length: pending.length - cut, atMs: pending.atMs };
}

async function* lines(folder: string, from: Starts | null, options: ReadLogOptions): AsyncGenerator<SegmentLine> {
  const pending: Record<Stream, Pending | null> = { stdout: null, stderr: null };
  // Call it when `pending` is already as it is after the line.
  const line = (stream: Stream, bytes: Buffer, atMs: number, end: Position): SegmentLine => {
    const trimmed = bytes.at(-1) === 0x0d ? bytes.subarray(0, -1) : bytes;
    return { atMs, stream, text: trimmed.toString('utf8'), cursor: formatCursor(end, pending) };
  };
  const flush = function* (end: Position): Generator<SegmentLine> {
    for (const stream of ['stdout', 'stderr'] as const) {
      const last = pending[stream];
      pending[stream] = null;
      if (last !== null) yield line(stream, joined(last), last.atMs, end);
    }
  };
  let end: Position = { at: 0, n: 0 };
  const first = from === null ? null : Math.min(from.stdout.at, from.stderr.at);
  for await (const frame of frames(folder, first, options)) {
    end = { at: frame.next, n: 0 };
    if (frame.kind !== 'output') {
      yield* flush({ at: frame.at, n: 0 });
      if (frame.kind === 'lost') {
        const amount = frame.lostBytes === 0 ? 'output was' : `${frame.lostBytes} bytes were`;
        yield { atMs: frame.atMs, stream: 'stderr', text: `… ${amount} dropped`, cursor: formatCursor(end, pending) };
      }
      continue;
    }
    const { stream, payload } = frame;
    const begin = from?.[stream];
    if (begin !== undefined && frame.at < begin.at) continue;
    let n = begin !== undefined && begin.at === frame.at ? begin.n : 0;
    while (n < payload.length) {
      const newline = payload.indexOf(0x0a, n);
      const stop = newline === -1 ? payload.length : newline;
      const held: Pending = pending[stream] ?? { parts: [], length: 0, atMs: frame.atMs };
      // Never more than one byte over the limit, so that a cut always leaves something.
      const take = Math.min(stop - n, LINE_MAX_BYTES + 1 - held.length);
      if (take > 0) held.parts.push({ bytes: payload.subarray(n, n + take), at: frame.at, n });
      held.length += take;
      n += take;
      if (held.length > LINE_MAX_BYTES) {
        const whole = joined(held);
        const cut = cutLength(whole);
        pending[stream] = afterCut(held, cut);
        yield line(stream, whole.subarray(0, cut), held.atMs, { at: frame.at, n });
      } else if (newline !== -1) {
        n += 1;
        pending[stream] = null;
        yield line(stream, joined(held), held.atMs, { at: frame.at, n });
      } else {
        pending[stream] = held;
      }
    }
  }
  if (!options.follow && options.wholeLines !== true) yield* flush(end);
}

/** The position after everything that is in the log now. */
async function endOfLog(folder: string): Promise<number> {
  const last = await openFrom(folder, (await listNumbers(folder)).at(-1) ?? 0, 0);
  if (last === null) return 0;
  try {
    return last.base + (await last.handle.stat()).size;
  } finally {
    await last.handle.close();
  }
}

/** The cursor before the last `count` lines; null: the log holds no more than those. Reads back no more segments than it must. */
async function cursorBeforeLast(folder: string, count: number, options: ReadLogOptions): Promise<string | null> {
  const snapshot = { ...options, follow: false };
  const numbers = await listNumbers(folder);
  const [oldest] = numbers;
  for (const number of numbers.toReversed()) {
    const segment = await openSegment(folder, number, 0);
    if (segment === null) break;
    const { base } = segment;
    // A stream in the middle of a line at the segment's start must have ended that line before we can count on its lines.
    const cut: Record<Stream, boolean> = { ...segment.midLine };
    await segment.handle.close();
    const start = { at: base, n: 0 };
    const ring = [formatCursor(start, { stdout: null, stderr: null })];
    let total = 0;
    let firstWhole = 0;
    for await (const each of lines(folder, { stdout: start, stderr: start }, snapshot)) {
      total += 1;
      ring[total % (count + 1)] = each.cursor;
      if (cut[each.stream]) firstWhole = total;
      cut[each.stream] = false;
    }
    const enough = total >= count && total - count >= firstWhole && !cut.stdout && !cut.stderr;
    if (enough || (number === oldest && total > count)) return ring[(total - count) % (count + 1)] ?? null;
  }
  return null;
}

/**
 * Lines of a log folder. Ends at the end of the log, or with `follow` when the signal aborts. New output of a follower arrives within
 * 200 ms. Text is UTF-8 with invalid bytes replaced. Cursors sort as texts and are valid after restarts.
 */
export async function* readLog(folder: string, options: ReadLogOptions): AsyncGenerator<SegmentLine> {
  let after = options.after ?? null;
  if (after === null && options.tail !== undefined) {
    after = await cursorBeforeLast(folder, Math.min(MAX_TAIL, Math.max(0, options.tail)), options);
  }
  const from = after === null ? null : parseCursor(after);
  // A position behind the end is of a log that was deleted since: begin with the new one.
  const stale = from !== null && Math.max(from.stdout.at + from.stdout.n, from.stderr.at + from.stderr.n) > (await endOfLog(folder));
  yield* lines(folder, stale ? null : from, options);
}
