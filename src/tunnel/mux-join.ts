// A connection and a stream of another one as one: each direction ends by itself, none goes faster than the other side takes it, and what
// breaks on one side breaks the other, so that nobody takes a part for the whole.

import type { Socket } from 'node:net';
import type { Clock } from '../lib/clock.ts';
import { resetSocket } from '../sys/reset-socket.ts';
import type { MuxStream, StreamObserver } from './mux-stream.ts';

/** A connection that both sides have ended has so long to take what is left for it. */
const LINGER_MS = 10_000;
/** Less than this is copied: a few bytes that wait shall not keep all of what was read with them. */
const SMALL_BYTES = 4 * 1024;

/**
 * @param socket connected, or on its way; half-open ends are allowed on it. It closes in the end.
 * @returns what the stream is to be observed by
 */
export function joinSocket(stream: MuxStream, socket: Socket, clock: Clock): StreamObserver {
  let heldBytes = 0;
  let peerEnded = false;
  let cancelLinger: (() => void) | null = null;
  let corked = false;

  const linger = (): void => {
    if (peerEnded && socket.readableEnded) cancelLinger ??= clock.timer(LINGER_MS, () => socket.destroy());
  };
  socket.setNoDelay(true);
  socket.on('data', (bytes: Buffer) => {
    if (!stream.write(bytes)) socket.pause();
  });
  socket.on('drain', () => {
    const bytes = heldBytes;
    heldBytes = 0;
    stream.consumed(bytes);
  });
  socket.on('end', () => {
    stream.end();
    linger();
  });
  socket.on('error', () => stream.reset('the connection there broke'));
  socket.on('close', () => {
    cancelLinger?.();
    if (!socket.readableEnded || !peerEnded) stream.reset('the connection there was closed');
  });
  return {
    onData: (bytes) => {
      // What came by one read leaves by one write, however many frames it was.
      if (!corked) {
        corked = true;
        socket.cork();
        process.nextTick(() => {
          corked = false;
          socket.uncork();
        });
      }
      if (socket.write(bytes.length < SMALL_BYTES ? Buffer.from(bytes) : bytes)) stream.consumed(bytes.length);
      else heldBytes += bytes.length;
    },
    onEnd: () => {
      peerEnded = true;
      socket.end();
      linger();
    },
    onReset: () => resetSocket(socket),
    onDrain: () => socket.resume(),
  };
}
