// Output of a container without a terminal, as the engine sends it: frames of a stream number, three zeros, a length and that many bytes.

import { Failure } from '../../lib/failure.ts';

const HEADER_BYTES = 8;
/** The engine cuts lines at 16 KiB; what claims more than this is not its format. */
const MAX_FRAME_BYTES = 4 * 1024 * 1024;

export interface OutputFrame {
  readonly stream: 'stdout' | 'stderr';
  readonly payload: Buffer;
}

/** Whole frames in the order of arrival, all those of one read at a time. A last one that is cut off is left out. */
export async function* readFrames(source: AsyncIterable<Uint8Array>): AsyncGenerator<readonly OutputFrame[]> {
  let rest = Buffer.alloc(0);
  for await (const chunk of source) {
    const bytes = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
    const frames: OutputFrame[] = [];
    let at = 0;
    while (bytes.length - at >= HEADER_BYTES) {
      const kind = bytes.readUInt8(at);
      const length = bytes.readUInt32BE(at + 4);
      if (kind > 2 || length > MAX_FRAME_BYTES)
        throw new Failure('internal', { message: 'The Docker engine sent output in a format that is not known.' });
      if (bytes.length - at - HEADER_BYTES < length) break;
      const start = at + HEADER_BYTES;
      frames.push({ stream: kind === 2 ? 'stderr' : 'stdout', payload: bytes.subarray(start, start + length) });
      at = start + length;
    }
    rest = bytes.subarray(at);
    if (frames.length > 0) yield frames;
  }
}
