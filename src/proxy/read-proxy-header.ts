// Waits for the PROXY protocol header of a connection. Whatever comes of it, the socket is as if the header had never been there: what
// was read behind it is put back, and reading has stopped.

import type { Socket } from 'node:net';
import type { Clock } from '../lib/clock.ts';
import { createProxyHeaderReader } from './proxy-protocol.ts';
import type { ProxyHeader } from './proxy-protocol.ts';

/** Calls back once: with the header, or with null and why there is none. `cancel`s by destroying the socket. */
export function readProxyHeader(
  socket: Socket,
  options: { readonly clock: Clock; readonly timeoutMs: number },
  onRead: (header: ProxyHeader | null, why: string) => void,
): void {
  const reader = createProxyHeaderReader();
  const finish = (header: ProxyHeader | null, why: string, rest?: Buffer): void => {
    cancel();
    socket.pause();
    socket.off('data', onData);
    socket.off('end', onGone);
    socket.off('close', onGone);
    if (rest !== undefined && rest.length > 0) socket.unshift(rest);
    // Whoever takes the socket over has a listener of its own; a refused one is destroyed.
    if (header !== null) socket.off('error', onError);
    onRead(header, why);
  };
  const onData = (chunk: Buffer): void => {
    const result = reader.push(chunk);
    if (result.type === 'more') return;
    if (result.type === 'refused') return finish(null, result.why);
    finish(result.header, '', result.rest);
  };
  const onGone = (): void => finish(null, 'the connection ended before its header');
  const onError = (): void => undefined;
  const cancel = options.clock.timer(options.timeoutMs, () => finish(null, 'the header did not come in time'));
  socket.on('data', onData);
  socket.once('end', onGone);
  socket.once('close', onGone);
  socket.on('error', onError);
}
