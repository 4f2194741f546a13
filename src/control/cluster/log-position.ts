// Where a reader of merged logs is: per Instance the cursor after its last line, packed into the id of each line, so that a reconnect
// goes on exactly there; and the merge itself, which never changes the order of one Instance's lines.

import { Failure } from '../../lib/failure.ts';

/** The line of an agent, as the driver gave it. */
export interface AgentLogLine {
  readonly atMs: number;
  readonly stream: 'stdout' | 'stderr';
  readonly text: string;
  readonly cursor: string;
}

export interface LogPosition {
  /** When the stream began: Instances made later belong to it from their first line. UTC milliseconds. */
  readonly startedAtMs: number;
  /** Instance → cursor after its last line; null before its first. */
  readonly cursors: Map<string, string | null>;
}

const POSITION_CHARACTERS = 64 * 1024;

export function packPosition(position: LogPosition): string {
  return Buffer.from(JSON.stringify([position.startedAtMs, Object.fromEntries(position.cursors)])).toString('base64url');
}

/** Throws `invalid_input` where the text is not such an id. */
export function unpackPosition(text: string): LogPosition {
  try {
    if (text.length > POSITION_CHARACTERS) throw new Error('too long');
    const value: unknown = JSON.parse(Buffer.from(text, 'base64url').toString());
    if (!Array.isArray(value)) throw new Error('not a pair');
    const [startedAtMs, cursors]: unknown[] = value;
    if (typeof startedAtMs !== 'number' || typeof cursors !== 'object' || cursors === null) throw new Error('not a position');
    const entries = Object.entries(cursors).map(([id, cursor]: [string, unknown]): [string, string | null] => {
      if (cursor !== null && typeof cursor !== 'string') throw new Error('not a cursor');
      return [id, cursor];
    });
    return { startedAtMs, cursors: new Map(entries) };
  } catch (cause) {
    throw new Failure('invalid_input', { message: 'The Last-Event-ID is not one of this log stream.', cause });
  }
}

/** Takes lines from the heads of the queues, earliest first (the first queue where two are equal), until all are empty. */
export function takeMerged<T>(queues: readonly T[][], atMsOf: (item: T) => number): T[] {
  const merged: T[] = [];
  const positions = queues.map(() => 0);
  for (;;) {
    let best = -1;
    let bestMs = Number.POSITIVE_INFINITY;
    queues.forEach((queue, index) => {
      const head = queue[positions[index] ?? 0];
      if (head !== undefined && (best === -1 || atMsOf(head) < bestMs)) {
        best = index;
        bestMs = atMsOf(head);
      }
    });
    const taken = queues[best]?.[positions[best] ?? 0];
    if (taken === undefined) break;
    merged.push(taken);
    positions[best] = (positions[best] ?? 0) + 1;
  }
  for (const queue of queues) queue.length = 0;
  return merged;
}

/** The same over streams: holds one line of each. Closes all of them when it is left. */
export async function* mergeStreams<T>(sources: readonly AsyncIterable<T>[], atMsOf: (item: T) => number): AsyncGenerator<T> {
  const iterators = sources.map((source) => source[Symbol.asyncIterator]());
  const heads = await Promise.all(iterators.map((iterator) => iterator.next()));
  try {
    for (;;) {
      let best = -1;
      let bestMs = Number.POSITIVE_INFINITY;
      heads.forEach((head, index) => {
        if (head.done !== true && (best === -1 || atMsOf(head.value) < bestMs)) {
          best = index;
          bestMs = atMsOf(head.value);
        }
      });
      const head = heads[best];
      const iterator = iterators[best];
      if (head === undefined || iterator === undefined || head.done === true) return;
      yield head.value;
      heads[best] = await iterator.next();
    }
  } finally {
    await Promise.allSettled(iterators.map(async (iterator) => await iterator.return?.()));
  }
}
