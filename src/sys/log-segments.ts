// The output of a program on disk, strictly bounded: numbered segment files of frames, oldest deleted first. A frame is one read of
// the pump (time, stream, raw bytes), so writing costs nothing per line; a half-written frame at the end of a segment is legal.

import { closeSync, fstatSync, mkdirSync, openSync, readSync, readdirSync, statSync, unlinkSync, writevSync } from 'node:fs';
import { join } from 'node:path';

/** What a frame holds. `start` opens each segment (see `decodeStart`), `end` says that a program's output ended, `mark` is the writer's own. */
export const FRAME_KIND = { start: 1, stdout: 2, stderr: 3, dropped: 4, end: 5, mark: 6 } as const;

/** magic u8, kind u8, time u48, length u32; all little-endian. The magic byte never occurs in UTF-8 text. */
export const FRAME_HEADER_BYTES = 12;
export const FRAME_MAGIC = 0xf5;
/** Longer writes are cut into several frames. */
export const FRAME_MAX_BYTES = 64 * 1024;

const SEGMENTS = 8;
const MAX_FILES = 64;
const MIN_BYTES = SEGMENTS * 2 * FRAME_MAX_BYTES;

export interface LogWriter {
  /** Appends raw output. Never throws: what the disk refuses is counted, and reported in the log as soon as it takes data again. */
  write(stream: 'stdout' | 'stderr', bytes: Uint8Array): void;
  /** Marks the end of a program's output: unfinished lines are complete as they are. */
  end(): void;
  /** Says in its place that output was dropped, and nobody knows how much. */
  lost(): void;
  /** Where the writer stands with its source; readers of lines pass over it, log-marks.ts finds the last one. */
  mark(payload: Uint8Array): void;
  close(): void;
}

export function segmentName(number: number): string {
  return `${String(number).padStart(8, '0')}.log`;
}

/** Numbers of the segments that exist, ascending. */
export function listSegments(folder: string): number[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  return names
    .filter((name) => /^\d{8,}\.log$/.test(name))
    .map((name) => Number.parseInt(name, 10))
    .sort((a, b) => a - b);
}

function frameHeader(kind: number, atMs: number, length: number): Buffer {
  const header = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
  header.writeUInt8(FRAME_MAGIC, 0);
  header.writeUInt8(kind, 1);
  header.writeUIntLE(atMs, 2, 6);
  header.writeUInt32LE(length, 8);
  return header;
}

function numberPayload(value: number): Buffer {
  const payload = Buffer.allocUnsafe(8);
  payload.writeBigUInt64LE(BigInt(value));
  return payload;
}

/** Payload of a `start` frame: bytes of log before the segment u64, then 1 for stdout and 2 for stderr in the middle of a line u8. */
export const START_BYTES = 9;

export interface SegmentStart {
  readonly base: number;
  readonly midLine: { readonly stdout: boolean; readonly stderr: boolean };
}

/** Reads header and payload of a segment's first frame; null where it is none. */
export function decodeStart(bytes: Buffer): SegmentStart | null {
  if (bytes[0] !== FRAME_MAGIC || bytes[1] !== FRAME_KIND.start) return null;
  const flags = bytes.readUInt8(FRAME_HEADER_BYTES + 8);
  return { base: Number(bytes.readBigUInt64LE(FRAME_HEADER_BYTES)), midLine: { stdout: (flags & 1) !== 0, stderr: (flags & 2) !== 0 } };
}

function encodeStart({ base, midLine }: SegmentStart): Buffer {
  return Buffer.concat([numberPayload(base), Buffer.from([(midLine.stdout ? 1 : 0) | (midLine.stderr ? 2 : 0)])]);
}

function logSizeUpTo(folder: string, segment: number): number {
  const fd = openSync(join(folder, segmentName(segment)), 'r');
  try {
    const bytes = Buffer.alloc(FRAME_HEADER_BYTES + START_BYTES);
    readSync(fd, bytes, 0, bytes.length, 0);
    return (decodeStart(bytes)?.base ?? 0) + fstatSync(fd).size;
  } finally {
    closeSync(fd);
  }
}

/**
 * Opens a log for appending; always in a new segment, because the last one may end in half a frame.
 * @param limitBytes most that the folder's segments take on disk together (at least 1 MiB)
 */
export function openLogWriter(folder: string, limitBytes: number, now: () => number): LogWriter {
  const bound = Math.max(MIN_BYTES, limitBytes);
  const segmentBytes = Math.floor(bound / SEGMENTS);
  let fd: number | null = null;
  let size = 0;
  let base = 0;
  let number = 0;
  let droppedBytes = 0;
  // What an earlier writer left unfinished is not known.
  const midLine = { stdout: false, stderr: false };
  const kept: { number: number; size: number }[] = [];

  const append = (kind: number, payload: Uint8Array): void => {
    if (fd === null) throw new Error('no segment');
    const header = frameHeader(kind, now(), payload.length);
    const wanted = header.length + payload.length;
    const written = writevSync(fd, [header, payload]);
    size += written;
    // A short write is a full disk; the rest of the frame is lost, so the segment ends here.
    if (written < wanted) throw new Error('short write');
  };

  const prune = (): void => {
    let total = segmentBytes;
    for (const segment of kept) total += segment.size;
    while (kept.length > 0 && (total > bound || kept.length >= MAX_FILES)) {
      const oldest = kept.shift();
      if (oldest === undefined) break;
      total -= oldest.size;
      try {
        unlinkSync(join(folder, segmentName(oldest.number)));
      } catch {
        // Somebody else deleted it.
      }
    }
  };

  const open = (): void => {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    number += 1;
    fd = openSync(join(folder, segmentName(number)), 'wx', 0o600);
    size = 0;
    append(FRAME_KIND.start, encodeStart({ base, midLine }));
  };

  const finish = (): void => {
    if (fd === null) return;
    closeSync(fd);
    fd = null;
    kept.push({ number, size });
    base += size;
  };

  const frame = (kind: number, payload: Uint8Array): void => {
    try {
      if (fd === null || size + FRAME_HEADER_BYTES + payload.length > segmentBytes) {
        finish();
        prune();
        open();
      }
      if (droppedBytes > 0) {
        append(FRAME_KIND.dropped, numberPayload(droppedBytes));
        droppedBytes = 0;
      }
      append(kind, payload);
    } catch {
      if (kind !== FRAME_KIND.mark) droppedBytes += payload.length;
      finish();
    }
  };

  for (const segment of listSegments(folder)) {
    number = segment;
    midLine.stdout = true;
    midLine.stderr = true;
    try {
      kept.push({ number: segment, size: statSync(join(folder, segmentName(segment))).size });
    } catch {
      // Deleted since the listing.
    }
  }
  try {
    if (number > 0) base = logSizeUpTo(folder, number);
  } catch {
    // Unreadable: positions start again at zero, which readers see as a new log.
  }

  return {
    write: (stream, bytes) => {
      for (let at = 0; at < bytes.length; at += FRAME_MAX_BYTES) {
        const part = bytes.subarray(at, at + FRAME_MAX_BYTES);
        frame(FRAME_KIND[stream], part);
        midLine[stream] = part.at(-1) !== 0x0a;
      }
    },
    end: () => {
      frame(FRAME_KIND.end, new Uint8Array(0));
      midLine.stdout = false;
      midLine.stderr = false;
    },
    lost: () => frame(FRAME_KIND.dropped, numberPayload(0)),
    mark: (payload) => frame(FRAME_KIND.mark, payload),
    close: finish,
  };
}
