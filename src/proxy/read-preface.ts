// Tells which protocol a plain connection begins with, by its first bytes, and puts them back. No HTTP/1.1 request begins as HTTP/2 does:
// the method PRI is reserved (RFC 9113 §11.6).

import type { Socket } from 'node:net';
import type { Clock } from '../lib/clock.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** Calls back once, with null where the connection ended or nothing came in time. Reading has stopped then. */
export function readPreface(
  socket: Socket,
  options: { readonly clock: Clock; readonly timeoutMs: number },
  onRead: (protocol: 'http/1.1' | 'h2' | null) => void,
): void {
  let seen: Buffer = Buffer.alloc(0);
  const finish = (protocol: 'http/1.1' | 'h2' | null): void => {
    cancel();
    socket.pause();
    socket.off('data', onData);
    socket.off('end', onGone);
    socket.off('close', onGone);
    if (seen.length > 0) socket.unshift(seen);
    // Whoever takes the socket over has a listener of its own; the others are destroyed.
    if (protocol !== null) socket.off('error', ignore);
    onRead(protocol);
  };
  const onData = (chunk: Buffer): void => {
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    const common = Math.min(seen.length, PREFACE.length);
    if (!seen.subarray(0, common).equals(PREFACE.subarray(0, common))) finish('http/1.1');
    else if (common === PREFACE.length) finish('h2');
  };
  // What has come so far may be a request in itself that is not whole: whoever reads it says so.
  const onGone = (): void => finish(seen.length > 0 && !socket.destroyed ? 'http/1.1' : null);
  const cancel = options.clock.timer(options.timeoutMs, () => finish(seen.length > 0 ? 'http/1.1' : null));
  socket.on('data', onData);
  socket.once('end', onGone);
  socket.once('close', onGone);
  socket.on('error', ignore);
  // Whoever had it before may have stopped it.
  socket.resume();
}

const ignore = (): void => undefined;
