// Sends a handler's items as server-sent events: heartbeats, resumable ids, and a bound on slow readers. A stream that is done says
// `end`; one that the server breaks off (stop, slow reader) says nothing, so that the reader comes back.

import type { ServerResponse } from 'node:http';
import { problemOf } from '../api/problem.ts';
import type { Clock } from '../lib/clock.ts';
import { toFailure } from '../lib/failure.ts';
import { encodeSse, encodeSseComment } from '../lib/sse.ts';
import type { Log } from '../sys/log.ts';
import type { StreamItem } from './handler.ts';

export interface StreamContext {
  readonly clock: Clock;
  readonly log: Log;
  readonly requestId: string;
  readonly heartbeatMs: number;
  /** A reader that takes nothing for so long is cut off. */
  readonly slowReaderMs: number;
  /** Aborts when the reader has gone or the server stops. */
  readonly signal: AbortSignal;
  readonly parse: (data: unknown) => unknown;
}

/** How long the first item, or a refusal, is awaited before the headers go out. */
const FIRST_ITEM_MS = 100;

export interface OpenedStream {
  /** Writes everything to the response; resolves when it is over. Never throws. */
  send(response: ServerResponse, headers: Readonly<Record<string, string | number | string[] | undefined>>): Promise<void>;
}

/** Asks for the first item: what the handler refuses at once becomes a plain problem reply instead of a stream. */
export async function openStream(items: AsyncIterable<StreamItem<unknown>>, context: StreamContext): Promise<OpenedStream> {
  const iterator = items[Symbol.asyncIterator]();
  const first = iterator.next();
  first.catch(() => undefined); // awaited below or in send
  let cancel = (): void => undefined;
  const waited = new Promise<void>((resolve) => {
    cancel = context.clock.timer(FIRST_ITEM_MS, resolve);
  });
  await Promise.race([first, waited]).finally(() => cancel());
  return { send: (response, headers) => pump(iterator, first, response, headers, context) };
}

async function pump(
  iterator: AsyncIterator<StreamItem<unknown>>,
  first: Promise<IteratorResult<StreamItem<unknown>>>,
  response: ServerResponse,
  headers: Readonly<Record<string, string | number | string[] | undefined>>,
  context: StreamContext,
): Promise<void> {
  const { clock, signal } = context;
  response.writeHead(200, { ...headers, 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
  response.flushHeaders();
  let cancelBeat = (): void => undefined;
  const beat = (): void => {
    if (!response.writableNeedDrain && !response.writableEnded) response.write(encodeSseComment('alive'));
    cancelBeat = clock.timer(context.heartbeatMs, beat);
  };
  cancelBeat = clock.timer(context.heartbeatMs, beat);
  try {
    let next = first;
    for (;;) {
      const item = await unlessAborted(next, signal);
      if (item === 'aborted') break;
      if (item.done === true) {
        await write(response, encodeSse({ event: 'end', data: '{}' }), context);
        break;
      }
      const text = encodeSse({ id: item.value.id, data: JSON.stringify(context.parse(item.value.data)) });
      if (!(await write(response, text, context))) break;
      next = iterator.next();
      next.catch(() => undefined); // awaited at the top of the loop
    }
  } catch (error) {
    if (!signal.aborted) {
      const failure = toFailure(error);
      if (failure.code === 'internal')
        context.log.error({ requestId: context.requestId, error: failure.cause ?? failure }, failure.message);
      await write(response, encodeSse({ event: 'problem', data: JSON.stringify(problemOf(failure, context.requestId)) }), context);
    }
  } finally {
    cancelBeat();
    // Not awaited: a generator that waits for something ends when it sees the signal.
    void Promise.resolve(iterator.return?.()).catch(() => undefined);
    response.end();
  }
}

/** Not Promise.race against one promise of the abort: that would leave a reaction behind on it for every item. */
function unlessAborted<T>(next: Promise<T>, signal: AbortSignal): Promise<T | 'aborted'> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => resolve('aborted');
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    void next.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** Writes one event and waits until there is room for the next; false where the reader is gone or too slow. */
async function write(response: ServerResponse, text: string, context: StreamContext): Promise<boolean> {
  if (response.destroyed || response.writableEnded) return false;
  if (response.write(text)) return true;
  return await new Promise<boolean>((resolve) => {
    const settle = (ok: boolean): void => {
      cancel();
      response.off('drain', onDrain);
      response.off('close', onClose);
      resolve(ok);
    };
    const onDrain = (): void => settle(true);
    const onClose = (): void => settle(false);
    const cancel = context.clock.timer(context.slowReaderMs, () => {
      context.log.info({ requestId: context.requestId }, 'reader of a stream is too slow: cut off');
      response.destroy();
      settle(false);
    });
    response.once('drain', onDrain);
    response.once('close', onClose);
  });
}
