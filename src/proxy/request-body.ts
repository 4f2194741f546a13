// A client's request body that can be sent more than once while it is short: what was read is kept up to a bound, so that a try that
// failed can be repeated elsewhere. Nothing is read from the client before a target's connection exists.

import type { ClientRequest, IncomingMessage } from 'node:http';
import { requestFraming, trailerPairs } from './headers.ts';

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
  /** Reads on and throws away, at most `limitBytes`, then closes the client's connection. */
  discard(limitBytes: number): void;
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
      const onData = (chunk: Buffer): void => {
        remember(chunk);
        onProgress();
        if (!upstream.write(chunk)) request.pause();
      };
      const onDrain = (): void => {
        onProgress();
        request.resume();
      };
      const onEnd = (): void => {
        ended = true;
        stop();
        finish(upstream);
        onSent();
      };
      const stop = (): void => {
        request.off('data', onData);
        request.off('end', onEnd);
        upstream.off('drain', onDrain);
        if (!ended) request.pause();
      };
      request.on('data', onData);
      request.on('end', onEnd);
      upstream.on('drain', onDrain);
      // The head leaves at once, even where the client lets its body wait.
      upstream.flushHeaders();
      request.resume();
      return stop;
    },
    discard: (limitBytes) => {
      if (ended) return;
      kept = null;
      let left = limitBytes;
      request.on('data', (chunk: Buffer) => {
        left -= chunk.length;
        if (left < 0) request.socket.destroy();
      });
      request.on('end', () => {
        ended = true;
      });
      request.resume();
    },
  };
}
