// Carries a program's output from two FIFOs into its log. The program holds them for reading and writing, so a keeper that dies makes
// it wait at a full pipe (never EPIPE) until another keeper reads on.

import { execFile } from 'node:child_process';
import { chownSync, closeSync, constants, openSync, rmSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { FRAME_MAX_BYTES } from '../sys/log-segments.ts';
import type { LogWriter } from '../sys/log-segments.ts';

export interface Pump {
  /** Resolves when no process holds the output any more and all of it is written. */
  readonly drained: Promise<void>;
  close(): void;
}

const fifoPath = (folder: string, stream: 'stdout' | 'stderr'): string => join(folder, stream);

/** Makes both FIFOs anew, owned by the program's user so that it may open /dev/stdout. */
export async function makeFifos(folder: string, user: { readonly uid: number; readonly gid: number } | null): Promise<void> {
  const paths = [fifoPath(folder, 'stdout'), fifoPath(folder, 'stderr')];
  for (const path of paths) rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    execFile('mkfifo', ['-m', '600', ...paths], { timeout: 10_000, env: { PATH: '/usr/local/bin:/usr/bin:/bin' } }, (error) => {
      if (error === null) resolve();
      else reject(new Error(`the output pipes could not be made: ${error.message.trim()}`, { cause: error }));
    });
  });
  if (user !== null) for (const path of paths) chownSync(path, user.uid, user.gid);
}

/** Descriptors for the program. O_RDWR opens at once and keeps a reader alive in the program itself. */
export function openForProgram(folder: string): { readonly stdout: number; readonly stderr: number; close(): void } {
  const stdout = openSync(fifoPath(folder, 'stdout'), constants.O_RDWR);
  let stderr: number;
  try {
    stderr = openSync(fifoPath(folder, 'stderr'), constants.O_RDWR);
  } catch (error) {
    closeSync(stdout);
    throw error;
  }
  return {
    stdout,
    stderr,
    close: () => {
      closeSync(stdout);
      closeSync(stderr);
    },
  };
}

// One for all: the callback writes before it returns, so no two reads are ever in it at once.
const sharedBuffer = new Uint8Array(FRAME_MAX_BYTES);

/** Starts reading; open the program's descriptors first, or the FIFO reports its end at once. */
export function startPump(folder: string, writer: LogWriter): Pump {
  const open = (stream: 'stdout' | 'stderr'): { socket: Socket; closed: Promise<void> } => {
    const fd = openSync(fifoPath(folder, stream), constants.O_RDONLY | constants.O_NONBLOCK);
    const socket = new Socket({
      fd,
      readable: true,
      writable: false,
      onread: {
        buffer: sharedBuffer,
        callback: (count, buffer) => {
          writer.write(stream, buffer.subarray(0, count));
          return true;
        },
      },
    });
    const closed = new Promise<void>((resolve) => {
      socket.once('close', () => resolve());
    });
    socket.on('error', () => socket.destroy());
    // Without a reader of the end, `end` never comes.
    socket.resume();
    return { socket, closed };
  };
  const stdout = open('stdout');
  const stderr = open('stderr');
  return {
    drained: Promise.all([stdout.closed, stderr.closed]).then(() => undefined),
    close: () => {
      stdout.socket.destroy();
      stderr.socket.destroy();
    },
  };
}
