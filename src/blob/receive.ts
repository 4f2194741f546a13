// Writes an upload's bytes at their place, one piece at a time (the disk's pace is the sender's), within the size limit and never
// waiting forever for a silent sender.

import type { FileHandle } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';

export interface ReceiveOptions {
  readonly file: FileHandle;
  /** Where the first byte goes. */
  readonly offset: number;
  readonly body: Readable;
  readonly maxBytes: number;
  readonly idleTimeoutMs: number;
  readonly clock: Clock;
  /** Ends the upload; what came is kept. */
  readonly signal: AbortSignal;
}

/** Throws `too_large`, `timeout`, or `canceled` when the sender went away. */
export async function receiveBody(options: ReceiveOptions): Promise<void> {
  const { file, body, maxBytes } = options;
  const chunks = guardedChunks(options);
  let position = options.offset;
  for await (const chunk of chunks) {
    if (position + chunk.length > maxBytes) {
      body.pause();
      throw new Failure('too_large', {
        message: `The upload is larger than ${maxBytes} bytes.`,
        hint: 'Leave out what the App does not need with a .libraignore file, or raise the limit.',
        details: { maxBytes },
      });
    }
    for (let done = 0; done < chunk.length;) {
      const { bytesWritten } = await file.write(chunk, done, chunk.length - done, position);
      done += bytesWritten;
      position += bytesWritten;
    }
  }
}

async function* guardedChunks({ body, idleTimeoutMs, clock, signal }: ReceiveOptions): AsyncGenerator<Buffer, void, undefined> {
  let cancelTimer = (): void => undefined;
  const watch = (): void => {
    cancelTimer();
    cancelTimer = clock.timer(idleTimeoutMs, () => {
      body.destroy(new Failure('timeout', { message: `The upload sent nothing for ${idleTimeoutMs / 1000} s.` }));
    });
  };
  const onAbort = (): void => {
    body.destroy(signal.reason instanceof Error ? signal.reason : undefined);
  };
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    if (signal.aborted) throw signal.reason;
    watch();
    // The body stays open when we stop early: its owner still has to answer the sender.
    for await (const chunk of body.iterator({ destroyOnReturn: false })) {
      cancelTimer();
      yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk as string | Uint8Array); // what a byte stream yields
      watch();
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure('canceled', { message: 'The upload broke off; it can be gone on with.', cause: error });
  } finally {
    cancelTimer();
    signal.removeEventListener('abort', onAbort);
  }
}
