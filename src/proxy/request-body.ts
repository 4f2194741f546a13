// A client's request body that can be sent more than once while it is short: what was read is kept up to a bound, so that a try that
// failed can be repeated elsewhere. Nothing is read from the client before a target's connection exists.

import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Deadlines } from './deadlines.ts';
import { requestFraming, trailerPairs } from './headers.ts';
import type { ProxyLimits } from './limits.ts';

export interface RequestBody {
  /** True while everything that was read so far could be sent again. */
  replayable(): boolean;
  /** All of it has been read. */
  ended(): boolean;
  bytes(): number;
  /**
   * Sends the body, from its first byte, and ends the upstream request. `onProgress` after each piece, `onSent` after the last.
   * The returned function stops sending; the client is read no further until the next call.
   */
  sendTo(upstream: ClientRequest, onProgress: () => void, onSent: () => void): () => void;
}

export function createRequestBody(request: IncomingMessage, replayBytes: number): RequestBody {
  const framing = requestFraming(request);
  let kept: Buffer[] | null = [];
  let keptBytes = 0;
  let read = 0;
  let ended = framing === null;

  const remember = (chunk: Buffer): void => {
    read += chunk.length;
    if (kept === null) return;
    keptBytes += chunk.length;
    if (keptBytes > replayBytes) kept = null;
    else kept.push(chunk);
  };

  const finish = (upstream: ClientRequest): void => {
    if (framing === 'chunked') {
      const trailers = trailerPairs(request);
      if (trailers.length > 0) upstream.addTrailers(trailers);
    }
    upstream.end();
  };

  return {
    replayable: () => kept !== null,
    ended: () => ended,
    bytes: () => read,
    sendTo: (upstream, onProgress, onSent) => {
      for (const chunk of kept ?? []) upstream.write(chunk);
      if (ended) {
        finish(upstream);
        onSent();
        return () => undefined;
      }
      let stopped = false;
      // A turn later than it was read: what the target has said meanwhile is heard first. An answer such as 413 with a reset behind it
      // would be lost to a write that fails before.
      const later = (run: () => void): void =>
        void setImmediate(() => {
          if (!stopped) run();
        });
      const onData = (chunk: Buffer): void => {
        remember(chunk);
        onProgress();
        later(() => {
          if (!upstream.write(chunk)) request.pause();
        });
      };
      const onDrain = (): void => {
        onProgress();
        request.resume();
      };
      const onEnd = (): void => {
        ended = true;
        later(() => {
          stop();
          finish(upstream);
          onSent();
        });
      };
      const stop = (): void => {
        stopped = true;
        request.off('data', onData);
        request.off('end', onEnd);
        upstream.off('drain', onDrain);
        if (!ended) request.pause();
      };
      request.on('data', onData);
      request.on('end', onEnd);
      upstream.on('drain', onDrain);
      // A short body leaves in one packet with the head; a head whose body lets it wait leaves alone.
      later(() => {
        if (read === 0 && !upstream.destroyed) upstream.flushHeaders();
      });
      request.resume();
      return stop;
    },
  };
}

/**
 * Reads what is left of a body that nobody wants, so that the client gets to its answer and the connection can go on. Bounded in
 * bytes and time; beyond that the connection is closed.
 */
export function discardBody(request: IncomingMessage, limits: ProxyLimits, deadlines: Deadlines): void {
  if (request.complete || request.destroyed) return;
  const deadline = deadlines.create();
  let left = limits.discardBytes;
  deadline.set(limits.bodyIdleMs, () => request.socket.destroy());
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) request.socket.destroy();
  });
  request.once('close', () => deadline.clear());
  request.resume();
}
