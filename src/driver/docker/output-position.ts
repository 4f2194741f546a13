// How far the output of a container has been taken over, in the engine's own terms: the time of the last message of each stream, and how
// many messages of that very time there were. Times are texts of one length, so they compare as they are.

import { fieldOf, numberOf, textOf } from './fields.ts';

export type Stream = 'stdout' | 'stderr';

export interface StreamPosition {
  /** As the engine writes it, to the nanosecond; empty: nothing was taken over yet. */
  readonly time: string;
  readonly count: number;
}

export interface OutputPosition {
  readonly container: string;
  readonly stdout: StreamPosition;
  readonly stderr: StreamPosition;
  /** All of it is there. */
  readonly isWhole: boolean;
}

export const beginningOf = (container: string): OutputPosition => ({
  container,
  stdout: { time: '', count: 0 },
  stderr: { time: '', count: 0 },
  isWhole: false,
});

/** So much of the id of a container tells it from others on the machine. */
const ID_CHARACTERS = 20;

export const encodePosition = (position: OutputPosition): Buffer =>
  Buffer.from(JSON.stringify({ ...position, container: position.container.slice(0, ID_CHARACTERS) }));

/** null where it is no position of this container. */
export function decodePosition(payload: Buffer, container: string): OutputPosition | null {
  let value: unknown;
  try {
    value = JSON.parse(payload.toString('utf8'));
  } catch {
    return null;
  }
  if (textOf(value, 'container') !== container.slice(0, ID_CHARACTERS)) return null;
  const position = (stream: Stream): StreamPosition => ({
    time: textOf(value, stream, 'time') ?? '',
    count: numberOf(value, stream, 'count') ?? 0,
  });
  return { container, stdout: position('stdout'), stderr: position('stderr'), isWhole: fieldOf(value, 'isWhole') === true };
}

/** Messages of the two streams can pass each other by so much. */
const OVERLAP_S = 1;

/** Seconds since 1970 from which on everything that is new is found; 0: from the beginning. */
export function sinceOf(position: OutputPosition): number {
  const last = lastTime(position);
  return last === '' ? 0 : Math.max(1, Math.floor(Date.parse(last) / 1000) - OVERLAP_S);
}

const lastTime = ({ stdout, stderr }: OutputPosition): string => (stdout.time > stderr.time ? stdout.time : stderr.time);

/** Tells what is new among messages that are read anew from before the position. */
export interface Resumption {
  /** True where the message was not taken over yet. */
  isNew(stream: Stream, time: string): boolean;
  /** True once where what came before the message is no longer kept, so that something is missing. */
  hasGap(): boolean;
}

export function resumeFrom(from: OutputPosition): Resumption {
  const seen = { stdout: 0, stderr: 0 };
  /** The stream that spoke last must be found where it was left. */
  const last: Stream = from.stdout.time > from.stderr.time ? 'stdout' : 'stderr';
  let isFound = from[last].time === '';
  let gap = false;
  return {
    isNew: (stream, time) => {
      const { time: known, count } = from[stream];
      if (time < known) return false;
      if (time === known) {
        seen[stream] += 1;
        if (stream === last) isFound = true;
        return seen[stream] > count;
      }
      if (!isFound && time > from[last].time) {
        isFound = true;
        gap = true;
      }
      return true;
    },
    hasGap: () => {
      const found = gap;
      gap = false;
      return found;
    },
  };
}
