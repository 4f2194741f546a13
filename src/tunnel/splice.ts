// Two connections as one: what comes on either leaves on the other, no faster than that one takes it, and each direction ends by itself.
// What breaks on one side breaks the other, so that nobody takes a part for the whole.

import type { Socket } from 'node:net';
import type { Clock } from '../lib/clock.ts';
import type { Reader } from '../sys/reader.ts';

/** A side that has nothing more to say gets so long to take what is left for it, after the other one has closed. */
const LINGER_MS = 10_000;

export interface SpliceSide {
  readonly socket: Socket;
  /** Ends it so that whoever is there sees that something broke. */
  readonly reset: () => void;
}

export interface SpliceOptions {
  readonly peer: SpliceSide;
  /** Connected. */
  readonly target: SpliceSide;
  /** Of the target. */
  readonly reader: Reader;
  /** What the end of the peer means: it says no more but listens on, or it is gone. */
  readonly end: 'half' | 'reset';
  /** Came from the peer already. */
  readonly first: Buffer;
  readonly clock: Clock;
}

/** Joins them. Both close in the end, which their owners hear by 'close'. */
export function splice({ peer, target, reader, end, first, clock }: SpliceOptions): void {
  const { socket: from } = peer;
  const { socket: to } = target;
  let over = false;
  let targetSpokeLast = false;
  let cancelLinger: (() => void) | null = null;

  const breakOff = (): void => {
    if (over) return;
    over = true;
    peer.reset();
    target.reset();
  };
  const toTarget = (bytes: Buffer): void => {
    targetSpokeLast = false;
    if (!to.write(bytes)) from.pause();
  };
  /** The peer is gone. One that was amid a message must not pass for one that has said it all; behind an answer nothing is begun. */
  const leave = (): void => {
    if (!targetSpokeLast && !to.readableEnded) return breakOff();
    over = true;
    from.destroy();
    to.destroy();
  };
  const onPeerEnd = (): void => void (end === 'half' ? to.end() : leave());
  const onClose = (other: Socket): void => {
    cancelLinger?.();
    if (over || other.destroyed) return;
    // Only what has been said to the end on both sides is whole.
    if (!from.readableEnded || !to.readableEnded) return breakOff();
    cancelLinger = clock.timer(LINGER_MS, breakOff);
  };

  reader.onRead = (bytes) => {
    targetSpokeLast = true;
    // A copy: the memory is used again by the next read, and this may wait here.
    if (!from.write(Buffer.from(bytes))) to.pause();
  };
  from.on('drain', () => to.resume());
  from.on('data', toTarget);
  from.on('end', onPeerEnd);
  from.on('close', () => onClose(to));
  from.on('error', breakOff);
  to.on('drain', () => from.resume());
  to.on('end', () => from.end());
  to.on('close', () => onClose(from));
  to.on('error', breakOff);
  from.resume();
  to.resume();
  if (first.length > 0) toTarget(first);
  // It may have ended while the target was being connected.
  if (from.readableEnded) onPeerEnd();
}
