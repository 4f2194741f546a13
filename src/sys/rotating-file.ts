// An append-only file of bounded size: when full it becomes `<path>.1` and a new one begins. Writing never blocks the caller and
// never grows without bound; what does not fit into the buffer is counted and told in the file.

import { closeSync, mkdirSync, openSync, renameSync, fstatSync, write } from 'node:fs';
import { dirname } from 'node:path';

export interface RotatingFile {
  /** Queues one line (with its line end). Never throws. */
  write(line: string): void;
  /** Writes what is queued and closes. */
  close(): Promise<void>;
}

const MAX_QUEUED_BYTES = 4 * 1024 * 1024;

/** @param bytes size at which the file is set aside; at most twice this is on disk. */
export function openRotatingFile(path: string, bytes: number): RotatingFile {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  let descriptor = openSync(path, 'a', 0o600);
  let size = fstatSync(descriptor).size;
  let queue: string[] = [];
  let queuedBytes = 0;
  let dropped = 0;
  let writing = false;
  let closed = false;
  let idle: (() => void)[] = [];

  const rotate = (): void => {
    try {
      closeSync(descriptor);
      renameSync(path, `${path}.1`);
    } catch {
      // The old file stays where it is; appending to it is the best that is left.
    }
    descriptor = openSync(path, 'a', 0o600);
    size = 0;
  };

  const finish = (): void => {
    writing = false;
    for (const resolve of idle) resolve();
    idle = [];
  };

  const pump = (): void => {
    if (queue.length === 0) {
      finish();
      return;
    }
    writing = true;
    if (dropped > 0) {
      queue.push(`{"level":"warn","dropped":${dropped},"msg":"log lines were dropped: the disk is too slow"}\n`);
      dropped = 0;
    }
    const chunk = Buffer.from(queue.join(''));
    queue = [];
    queuedBytes = 0;
    const writeFrom = (offset: number): void => {
      write(descriptor, chunk, offset, chunk.length - offset, null, (error, written) => {
        if (error !== null) {
          // A full or failing disk must not stop the program that logs.
          finish();
          return;
        }
        size += written;
        if (offset + written < chunk.length) {
          writeFrom(offset + written);
          return;
        }
        try {
          if (size >= bytes) rotate();
        } catch {
          closed = true;
        }
        pump();
      });
    };
    writeFrom(0);
  };

  return {
    write: (line) => {
      if (closed) return;
      if (queuedBytes + line.length > MAX_QUEUED_BYTES) {
        dropped += 1;
        return;
      }
      queue.push(line);
      queuedBytes += line.length;
      if (!writing) {
        writing = true;
        // A turn later, so that a burst is one write.
        setImmediate(pump);
      }
    },
    close: async () => {
      if (writing) await new Promise<void>((resolve) => idle.push(resolve));
      if (closed) return;
      closed = true;
      closeSync(descriptor);
    },
  };
}
