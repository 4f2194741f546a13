// Where the writer of a log stood with its source when it last said so: what it wrote after that is counted, so that a successor writes
// neither twice nor too little.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { FRAME_HEADER_BYTES, FRAME_KIND, FRAME_MAGIC, listSegments, segmentName } from './log-segments.ts';

export interface LastMark {
  readonly payload: Buffer;
  /** Bytes of each stream that follow it. */
  readonly after: { readonly stdout: number; readonly stderr: number };
}

/** The last mark that `isOurs`; null where none is kept. Reads back no further than to that one. */
export function readLastMark(folder: string, isOurs: (payload: Buffer) => boolean): LastMark | null {
  const after = { stdout: 0, stderr: 0 };
  for (const number of listSegments(folder).toReversed()) {
    let bytes: Buffer;
    try {
      bytes = readFileSync(join(folder, segmentName(number)));
    } catch {
      return null; // deleted meanwhile, as are all before it
    }
    let payload: Buffer | null = null;
    let own = { stdout: 0, stderr: 0 };
    for (let at = 0; bytes.length - at >= FRAME_HEADER_BYTES && bytes[at] === FRAME_MAGIC;) {
      const kind = bytes[at + 1];
      const start = at + FRAME_HEADER_BYTES;
      const end = start + bytes.readUInt32LE(at + 8);
      const part = bytes.subarray(start, end);
      if (kind === FRAME_KIND.stdout) own.stdout += part.length;
      else if (kind === FRAME_KIND.stderr) own.stderr += part.length;
      else if (kind === FRAME_KIND.mark && end <= bytes.length && isOurs(part)) {
        payload = part;
        own = { stdout: 0, stderr: 0 };
      }
      at = end;
    }
    after.stdout += own.stdout;
    after.stderr += own.stderr;
    if (payload !== null) return { payload: Buffer.from(payload), after };
  }
  return null;
}
