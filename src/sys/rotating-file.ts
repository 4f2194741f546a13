// An append-only file of bounded size: when full it becomes `<path>.1` and a new one begins. Writing never blocks the caller and
// never grows without bound; what does not fit into the buffer, or what the disk refuses, is counted and told in the file.
// Several processes may append to one path: whoever finds that another has set the file aside goes on in the new one.

import { close, constants, fstat, fstatSync, mkdirSync, open, openSync, write } from 'node:fs';
import { rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import type { Clock } from '../lib/clock.ts';
import { LineQueue } from './line-queue.ts';

export interface RotatingFile {
  /** Queues one line (with its line end). Never throws. */
  write(line: string): void;
  /** Lines that were lost so far. */
  lost(): number;
  /** Writes what is queued and closes. */
  close(): Promise<void>;
}

export interface RotatingFileOptions {
  /** Lines wait so long for company, so that many are one write; without it, for the next turn. */
  readonly gather?: { readonly clock: Clock; readonly ms: number };
  /** What may wait for the disk, bytes; lines beyond it are dropped. */
  readonly queueBytes?: number;
}

const QUEUE_BYTES = 4 * 1024 * 1024;
/** So much leaves without waiting for company. */
const GATHER_BYTES = 128 * 1024;
const FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT;

const openFile = promisify(open);
const closeFile = promisify(close);
const statFile = promisify(fstat);

/** @param bytes size at which the file is set aside; at most about twice this is on disk. */
export function openRotatingFile(path: string, bytes: number, options: RotatingFileOptions = {}): RotatingFile {
  const { gather, queueBytes = QUEUE_BYTES } = options;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  let descriptor = openSync(path, FLAGS, 0o600);
  let { size } = fstatSync(descriptor);
  const queue = new LineQueue();
  /** Not told in the file yet. */
  let dropped = 0;
  let lost = 0;
  let writing: Promise<void> | null = null;
  let cancel: (() => void) | null = null;
  let closed = false;

  const rotate = async (): Promise<void> => {
    const own = await statFile(descriptor);
    const there = await stat(path).catch(() => null);
    if (there !== null && there.ino === own.ino && there.dev === own.dev) await rename(path, `${path}.1`);
    const next = await openFile(path, FLAGS, 0o600);
    await closeFile(descriptor);
    descriptor = next;
    ({ size } = await statFile(next));
  };

  const append = (chunk: Buffer): Promise<void> =>
    new Promise((resolve, reject) => {
      const from = (offset: number): void => {
        write(descriptor, chunk, offset, chunk.length - offset, null, (error, written) => {
          if (error !== null) {
            reject(error);
            return;
          }
          size += written;
          if (offset + written < chunk.length) from(offset + written);
          else resolve();
        });
      };
      from(0);
    });

  /** Writes what is there; what comes meanwhile waits for company as that did, or each write would find a few lines more. */
  const pump = async (): Promise<void> => {
    do {
      const told = dropped;
      const pieces = queue.take();
      let written = 0;
      try {
        for (const piece of pieces) {
          await append(piece.bytes.subarray(0, piece.length));
          queue.giveBack(piece);
          written += 1;
        }
        if (told > 0) await append(Buffer.from(droppedLine(told)));
        dropped -= told;
      } catch {
        // A full or failing disk must not stop the program that logs; the next line that can be written says what is missing.
        for (const { lines } of pieces.slice(written)) {
          dropped += lines;
          lost += lines;
        }
        return;
      }
      // A file that cannot be set aside is appended to: that is the best that is left.
      if (size >= bytes) await rotate().catch(() => (size = 0));
    } while (queue.length >= (closed ? 1 : GATHER_BYTES));
  };

  const begin = (): void => {
    cancel = null;
    writing ??= pump().finally(() => {
      writing = null;
      schedule();
    });
  };
  const schedule = (): void => {
    if (writing !== null || closed || queue.length === 0) return;
    if (queue.length >= GATHER_BYTES) {
      cancel?.();
      begin();
    } else if (cancel === null) {
      if (gather === undefined) {
        const handle = setImmediate(begin);
        cancel = () => clearImmediate(handle);
      } else cancel = gather.clock.timer(gather.ms, begin);
    }
  };

  return {
    write: (line) => {
      if (closed) return;
      if (queue.length + line.length > queueBytes) {
        dropped += 1;
        lost += 1;
        return;
      }
      queue.push(line);
      schedule();
    },
    lost: () => lost,
    close: async () => {
      if (closed) return;
      closed = true;
      cancel?.();
      if (writing !== null) await writing;
      if (queue.length > 0) await pump();
      await closeFile(descriptor).catch(() => undefined);
    },
  };
}

function droppedLine(count: number): string {
  return `{"level":"warn","dropped":${count},"msg":"log lines were dropped: the disk is too slow or refused"}\n`;
}
