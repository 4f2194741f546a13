// Reads the first bytes of a connection before it is known who takes it, and puts back what is not used up: whoever takes it finds it
// stopped, as if nobody had looked.

import type { Socket } from 'node:net';
import type { Clock } from '../lib/clock.ts';

/** What the first bytes are: of `bytes` the first `used` are taken away. */
export interface Beginning<T> {
  readonly value: T;
  readonly used: number;
}

/** Gets all that has come so far. Null: it needs more; where it is `over`, nothing more comes, or not in time. */
export type LookAt<T> = (bytes: Buffer, over: boolean) => Beginning<T> | null;

/** Calls back once, with null where nothing can come of it: the socket is to be destroyed then. */
export function readBeginning<T>(
  socket: Socket,
  options: { readonly clock: Clock; readonly timeoutMs: number },
  lookAt: LookAt<T>,
  onRead: (value: T | null) => void,
): void {
  let seen: Buffer = Buffer.alloc(0);
  const look = (over: boolean): void => {
    const beginning = socket.destroyed ? null : lookAt(seen, over);
    if (beginning === null && !over) return;
    cancel();
    socket.pause();
    socket.off('data', onData);
    socket.off('end', onOver);
    socket.off('close', onOver);
    if (beginning !== null) {
      if (seen.length > beginning.used) socket.unshift(seen.subarray(beginning.used));
      // Whoever takes the socket over has a listener of its own.
      socket.off('error', ignore);
    }
    onRead(beginning === null ? null : beginning.value);
  };
  const onData = (chunk: Buffer): void => {
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    look(false);
  };
  const onOver = (): void => look(true);
  const cancel = options.clock.timer(options.timeoutMs, onOver);
  socket.on('data', onData);
  socket.once('end', onOver);
  socket.once('close', onOver);
  socket.on('error', ignore);
  // Whoever had it before may have stopped it.
  socket.resume();
}

const ignore = (): void => undefined;
