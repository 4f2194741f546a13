// Server-sent events as an async iterable that outlives connections: it reconnects after the last id, so nothing is lost or repeated,
// and it ends only where the server says `end`, so a break is never taken for the end.

import { backoffMs } from '../lib/backoff.ts';
import { Failure, FAILURE_CODES, isFailure, messageOf } from '../lib/failure.ts';
import { createSseParser } from '../lib/sse.ts';
import type { StreamOptions } from './client-types.ts';
import { connectionFailure, createDeadline, isMoving, MOVING_MS, readReply, send } from './client-request.ts';
import type { HttpReply, RequestInput, Transport } from './client-request.ts';
import type { Endpoint } from './endpoint.ts';
import { failureOf } from './problem.ts';

/** The server sends at least a heartbeat every 15 s; three missed ones are a dead connection. */
const STREAM_SILENCE_MS = 45_000;
const RETRY = { minMs: 200, maxMs: 5000 } as const;
const GIVE_UP_AFTER_MS = 60_000;

/** A break that a new connection can mend, in contrast to a refusal. */
class Broken extends Error {
  readonly why: Error;
  constructor(why: Error) {
    super(why.message, { cause: why });
    this.why = why;
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(messageOf(error));
}

/** A retryable failure of a stream is mended by connecting again, except `compacted`: there the reader has to begin anew. */
function mendable(failure: Failure): boolean {
  return FAILURE_CODES[failure.code].retryable && failure.code !== 'compacted';
}

function parseData(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch (error) {
    throw new Failure('unreachable', { message: 'The stream holds an event that is not JSON.', cause: error });
  }
}

/** Events of one connection. Returns at `event: end`, throws Broken where the connection broke, anything else is final. */
async function* connection(
  transport: Transport,
  endpoint: Endpoint,
  input: RequestInput,
  signal: AbortSignal | undefined,
): AsyncGenerator<{ readonly id: string | null; readonly data: unknown }, void, undefined> {
  const deadline = createDeadline(transport.clock, STREAM_SILENCE_MS, `The stream ${endpoint.path}`, signal);
  let reader: ReadableStreamDefaultReader<Uint8Array> | null = null;
  const broke = (error: unknown): unknown =>
    signal?.aborted === true ? signal.reason : new Broken(asError(connectionFailure(error, transport.url, deadline.signal)));
  try {
    let response: HttpReply;
    try {
      response = await send(transport, endpoint, input, deadline.signal);
      if (!response.ok) await readReply(response, transport.url);
    } catch (error) {
      throw isFailure(error) && !mendable(error) ? error : broke(error);
    }
    if (response.body === null) throw new Broken(new Error('the reply has no body'));
    const parser = createSseParser();
    reader = response.body.getReader();
    for (;;) {
      deadline.touch();
      const part = await reader.read().catch((error: unknown) => {
        throw broke(error);
      });
      if (part.done) throw new Broken(new Error('the connection was closed'));
      deadline.pause();
      for (const event of parser.push(part.value)) {
        if (event.event === 'end') return;
        const data = parseData(event.data);
        if (event.event === 'problem') {
          const failure = failureOf(data) ?? new Failure('internal', { message: 'The stream failed without saying why.' });
          throw mendable(failure) ? new Broken(failure) : failure;
        }
        yield { id: event.id, data };
      }
    }
  } finally {
    deadline.clear();
    await reader?.cancel().catch(() => undefined);
  }
}

/** All events of a stream endpoint, across connections. */
export async function* followStream(
  transport: Transport,
  endpoint: Endpoint,
  input: RequestInput,
  options: StreamOptions,
): AsyncGenerator<unknown, void, undefined> {
  const giveUpAfterMs = options.giveUpAfterMs ?? GIVE_UP_AFTER_MS;
  let lastEventId = options.lastEventId ?? null;
  let connected = false;
  let attempt = 0;
  let lastAnswerMs = transport.clock.monotonic();
  for (;;) {
    const headers = { ...input.headers, ...(lastEventId === null ? {} : { 'last-event-id': lastEventId }) };
    try {
      for await (const item of connection(transport, endpoint, { ...input, headers }, options.signal)) {
        connected = true;
        attempt = 0;
        lastAnswerMs = transport.clock.monotonic();
        if (item.id !== null) {
          lastEventId = item.id;
          options.onId?.(item.id);
        }
        yield item.data;
        lastAnswerMs = transport.clock.monotonic();
      }
      return;
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      attempt += 1;
      const silentMs = transport.clock.monotonic() - lastAnswerMs;
      // Whoever gives up at once has a loop of its own.
      const tries = giveUpAfterMs > 0 && isMoving(error.why) ? silentMs < MOVING_MS : attempt < transport.attempts;
      const patient = giveUpAfterMs === Infinity || (connected ? silentMs < giveUpAfterMs : tries);
      if (!patient) throw error.why;
      options.onReconnect?.(attempt, error.why);
      await transport.clock.sleep(backoffMs(attempt - 1, RETRY, transport.random), options.signal);
    }
  }
}
