// Reading into memory that is used again. A stream makes a buffer for each read, shrinks it to what came and leaves it to the collector;
// for messages of a kilobyte that is one of the dearest things that the library does (docs/decisions/0012).

import type { OnReadOpts } from 'node:net';

/** Gets what comes on a connection, in memory that is used again as soon as the call is over. */
export interface Reader {
  onRead(bytes: Buffer): void;
}

/** As much as the library reads at once. One buffer for all: a read is over before the next one begins. */
const READ_BYTES = 64 * 1_024;
let shared: Buffer | null = null;

/** For a socket that is to give what it reads to the reader. */
export function onreadOf(reader: Reader): OnReadOpts {
  const buffer = (shared ??= Buffer.allocUnsafeSlow(READ_BYTES));
  return {
    buffer,
    callback: (count) => {
      reader.onRead(buffer.subarray(0, count));
      return true;
    },
  };
}

/** A part of what was read, for whoever may keep it. */
export const ownCopy = (bytes: Buffer, from: number, to: number): Buffer => Buffer.from(bytes.subarray(from, to));

/** The bytes for whoever keeps them: a copy where they stand in the memory that is read into. */
export const kept = (bytes: Buffer): Buffer => (shared !== null && bytes.buffer === shared.buffer ? Buffer.from(bytes) : bytes);
