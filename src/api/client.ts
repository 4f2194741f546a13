// The typed client of an endpoint table: `client.apps.list({ query })`. It is inferred, not generated, and cheap to load: the shapes of
// the table are never called, so no zod. Every call has a deadline, and every error is a Failure with the server's code.

import { systemClock } from '../lib/clock.ts';
import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { systemRandom } from '../lib/id.ts';
import type { Random } from '../lib/id.ts';
import { connectionFailure, createDeadline, pathOf, readReply, send, withRetries } from './client-request.ts';
import type { Deadline, RequestBody, RequestInput, Transport } from './client-request.ts';
import { followStream } from './client-stream.ts';
import type { CallOptions, Client, DownloadReply, StreamOptions, UploadBody } from './client-types.ts';
import type { Endpoint, EndpointTable, ParamsOf } from './endpoint.ts';

export type { Client, ClientCall, CallOptions, DownloadReply, StreamOptions, UploadBody } from './client-types.ts';

export interface ClientOptions {
  /** Such as `http://127.0.0.1:7400`. */
  readonly url: string;
  /** The credential, or how to get it each time. */
  readonly token: string | null | (() => string | null | Promise<string | null>);
  readonly fetch?: Transport['fetch'];
  readonly clock?: Clock;
  readonly random?: Random;
  /** Deadline of a call that names none, milliseconds; default 30,000. */
  readonly timeoutMs?: number;
  /** Tries of a call that is safe to repeat, the first included; default 3. */
  readonly attempts?: number;
  readonly userAgent?: string;
}

interface AnyInput extends CallOptions, StreamOptions {
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
  readonly range?: { readonly start: number; readonly end?: number | undefined } | undefined;
}

const TIMEOUT_MS = 30_000;

/** A client of every endpoint of the table but the sockets. */
export function createClient<T extends EndpointTable>(table: T, options: ClientOptions): Client<T> {
  const { token } = options;
  const fetchOption = options.fetch;
  const transport: Transport = {
    url: options.url.replace(/\/+$/u, ''),
    token: typeof token === 'function' ? token : () => token,
    fetch: fetchOption ?? ((url, init) => fetch(url, init)),
    clock: options.clock ?? systemClock,
    random: options.random ?? systemRandom,
    headers: options.userAgent === undefined ? {} : { 'user-agent': options.userAgent },
    attempts: options.attempts ?? 3,
  };
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  const nouns = Object.entries(table).map(([noun, verbs]) => [
    noun,
    Object.fromEntries(
      Object.entries(verbs)
        .filter(([, endpoint]) => endpoint.kind !== 'socket')
        .map(([verb, endpoint]) => [
          verb,
          (input: AnyInput = {}): unknown => call(transport, endpoint, input, input.timeoutMs ?? timeoutMs),
        ]),
    ),
  ]);
  return Object.fromEntries(nouns) as Client<T>; // built verb by verb from the very table that T describes
}

/** The address of a socket endpoint: `ws:` or `wss:`. The credential goes into the `authorization` header of the upgrade. */
export function socketUrl<E extends Endpoint>(
  url: string,
  endpoint: E,
  input: { readonly params: ParamsOf<E>; readonly query?: Readonly<Record<string, unknown>> },
): string {
  const params = input.params as Readonly<Record<string, string>>; // ParamsOf only narrows which names there are
  return url.replace(/^http/u, 'ws').replace(/\/+$/u, '') + pathOf(endpoint.path, params, input.query ?? {});
}

function call(transport: Transport, endpoint: Endpoint, input: AnyInput, timeoutMs: number): unknown {
  switch (endpoint.kind) {
    case 'json':
      return callJson(transport, endpoint, input, timeoutMs);
    case 'sse':
      return followStream(transport, endpoint, requestOf(input, { accept: 'text/event-stream' }, null), input);
    case 'upload':
      return upload(transport, endpoint, input, timeoutMs);
    case 'download':
      return download(transport, endpoint, input, timeoutMs);
    case 'socket':
      throw new Failure('unsupported', { message: 'A socket is opened on socketUrl().' });
  }
}

function requestOf(input: AnyInput, headers: Readonly<Record<string, string>>, body: RequestBody | null): RequestInput {
  return {
    params: input.params ?? {},
    query: input.query ?? {},
    headers: {
      ...headers,
      ...(input.idempotencyKey === undefined ? {} : { 'idempotency-key': input.idempotencyKey }),
      ...(input.ifMatch === undefined ? {} : { 'if-match': input.ifMatch }),
    },
    body,
  };
}

async function callJson(transport: Transport, endpoint: Endpoint, input: AnyInput, timeoutMs: number): Promise<unknown> {
  const hasBody = endpoint.body !== null;
  const request = requestOf(
    input,
    hasBody ? { accept: 'application/json', 'content-type': 'application/json' } : { accept: 'application/json' },
    hasBody ? JSON.stringify(input.body ?? {}) : null,
  );
  const safe = endpoint.method === 'GET' || input.idempotencyKey !== undefined;
  const deadline = createDeadline(transport.clock, timeoutMs, `${endpoint.method} ${endpoint.path}`, input.signal);
  try {
    return await withRetries(transport, safe, deadline.signal, async () => {
      const response = await send(transport, endpoint, request, deadline.signal);
      return await readReply(response, transport.url).catch((error: unknown) => {
        throw connectionFailure(error, transport.url, deadline.signal);
      });
    });
  } finally {
    deadline.clear();
  }
}

async function upload(transport: Transport, endpoint: Endpoint, input: AnyInput, timeoutMs: number): Promise<unknown> {
  const deadline = createDeadline(transport.clock, timeoutMs, `${endpoint.method} ${endpoint.path}`, input.signal);
  try {
    const source = input.body as UploadBody; // the type of the upload's call
    const body = source instanceof Uint8Array ? new Uint8Array(source) : streamOf(source, deadline);
    const request = requestOf(input, { accept: 'application/json', 'content-type': 'application/octet-stream' }, body);
    const response = await send(transport, endpoint, request, deadline.signal);
    return await readReply(response, transport.url).catch((error: unknown) => {
      throw connectionFailure(error, transport.url, deadline.signal);
    });
  } finally {
    deadline.clear();
  }
}

/** Hands chunks on as the network takes them; only the network's time counts, not the source's. */
function streamOf(source: ReadableStream<Uint8Array> | AsyncIterable<Uint8Array>, deadline: Deadline): ReadableStream<Uint8Array> {
  const timed = async (next: () => Promise<Part>): Promise<Part> => {
    deadline.pause();
    const part = await next();
    deadline.touch();
    return part;
  };
  if (source instanceof ReadableStream) {
    const reader = source.getReader();
    return pulled(
      () => timed(() => reader.read()),
      () => reader.cancel(),
    );
  }
  const iterator = source[Symbol.asyncIterator]();
  return pulled(
    () => timed(() => iterator.next()),
    async () => {
      await iterator.return?.();
    },
  );
}

interface Part {
  readonly done?: boolean | undefined;
  readonly value?: Uint8Array | undefined;
}

/** A stream that holds nothing: it asks for a part when it is asked for one. */
function pulled(next: () => Promise<Part>, cancel: () => Promise<void>): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const part = await next();
        if (part.done === true || part.value === undefined) controller.close();
        else controller.enqueue(part.value);
      },
      cancel,
    },
    { highWaterMark: 0 },
  );
}

async function download(transport: Transport, endpoint: Endpoint, input: AnyInput, timeoutMs: number): Promise<DownloadReply> {
  const { range } = input;
  const headers: Record<string, string> = range === undefined ? {} : { range: `bytes=${range.start}-${range.end ?? ''}` };
  const deadline = createDeadline(transport.clock, timeoutMs, `${endpoint.method} ${endpoint.path}`, input.signal);
  let handedOver = false;
  try {
    const response = await withRetries(transport, true, deadline.signal, async () => {
      const reply = await send(transport, endpoint, requestOf(input, headers, null), deadline.signal);
      if (!reply.ok) await readReply(reply, transport.url);
      return reply;
    });
    const length = response.headers.get('content-length');
    const sizeBytes = length === null ? null : Number(length);
    if (response.body === null) return { status: response.status, sizeBytes, body: new Blob([]).stream() };
    const reader = response.body.getReader();
    const body = pulled(
      async () => {
        deadline.touch();
        const part = await reader.read().catch((error: unknown) => {
          throw connectionFailure(error, transport.url, deadline.signal);
        });
        deadline.pause();
        if (part.done) deadline.clear();
        return part;
      },
      async () => {
        deadline.clear();
        await reader.cancel();
      },
    );
    deadline.pause();
    handedOver = true;
    return { status: response.status, sizeBytes, body };
  } finally {
    if (!handedOver) deadline.clear();
  }
}
