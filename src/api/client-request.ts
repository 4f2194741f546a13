// One call over HTTP: address, headers, deadline, bounded retries of what is safe to repeat, and problem documents as Failures.

import { backoffMs } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { Failure, isFailure } from '../lib/failure.ts';
import type { Random } from '../lib/id.ts';
import type { Endpoint } from './endpoint.ts';
import { failureOf } from './problem.ts';

/** What the client needs of a request: a subset of RequestInit. */
export interface HttpRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: RequestBody | null;
  readonly signal: AbortSignal;
  readonly redirect: 'error';
  readonly duplex?: 'half';
}

/** What the client needs of a reply: a subset of Response. */
export interface HttpReply {
  readonly ok: boolean;
  readonly status: number;
  readonly headers: { readonly get: (name: string) => string | null };
  readonly body: ReadableStream<Uint8Array> | null;
}

export interface Transport {
  readonly url: string;
  readonly token: () => string | null | Promise<string | null>;
  readonly fetch: (url: string, request: HttpRequest) => Promise<HttpReply>;
  readonly clock: Clock;
  readonly random: Random;
  readonly headers: Readonly<Record<string, string>>;
  /** Tries of a call that is safe to repeat, the first included. */
  readonly attempts: number;
}

/** Longest problem document or JSON reply that is read, bytes. */
const REPLY_LIMIT_BYTES = 64 * 1024 * 1024;
const RETRY = { minMs: 100, maxMs: 2000 } as const;

/** The path of an endpoint with its parameters filled in, and the query. */
export function pathOf(path: string, params: Readonly<Record<string, string>>, query: Readonly<Record<string, unknown>>): string {
  const filled = path.replace(/\{([^}]+)\}/gu, (_all, name: string) => {
    const value = params[name];
    if (value === undefined || value === '' || value === '.' || value === '..') {
      throw new Failure('invalid_input', { message: `The path ${path} needs a value for ${name}.` });
    }
    return encodeURIComponent(value);
  });
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null) search.append(name, typeof value === 'string' ? value : JSON.stringify(value));
  }
  const text = search.toString();
  return text === '' ? filled : `${filled}?${text}`;
}

export interface Deadline {
  readonly signal: AbortSignal;
  /** Starts the time anew. */
  touch(): void;
  /** Lets no time pass until the next touch: what is waited for then is the caller, not the network. */
  pause(): void;
  /** Ends it without an abort. */
  clear(): void;
}

/** A signal that aborts with a `timeout` Failure after `ms` without a touch, or with the caller's reason. */
export function createDeadline(clock: Clock, ms: number, what: string, signal: AbortSignal | undefined): Deadline {
  const controller = new AbortController();
  const onAbort = (): void => controller.abort(signal?.reason);
  if (signal?.aborted === true) onAbort();
  signal?.addEventListener('abort', onAbort, { once: true });
  const start = (): (() => void) =>
    Number.isFinite(ms)
      ? clock.timer(ms, () =>
          controller.abort(
            new Failure('timeout', {
              message: `${what} got no answer within ${ms} ms.`,
              hint: 'See whether the platform is busy: libra status',
            }),
          ),
        )
      : () => undefined;
  let cancel = start();
  let cleared = false;
  return {
    signal: controller.signal,
    touch: () => {
      if (cleared) return;
      cancel();
      cancel = start();
    },
    pause: () => cancel(),
    clear: () => {
      cleared = true;
      cancel();
      signal?.removeEventListener('abort', onAbort);
    },
  };
}

function codeOf(error: unknown): string | null {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string' ? error.code : null;
}

/** What went wrong below HTTP, as a Failure; an abort keeps its own reason. */
export function connectionFailure(error: unknown, url: string, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (isFailure(error)) return error;
  const code = codeOf(error) ?? (error instanceof Error ? codeOf(error.cause) : null);
  if (code !== null && /CERT|SELF_SIGNED|VERIFY/u.test(code)) {
    return new Failure('unreachable', {
      message: `What answers at ${url} shows a certificate that is not trusted here (${code}).`,
      hint: 'Save what `libra nodes ca` prints on the platform, and name that file in NODE_EXTRA_CA_CERTS.',
      cause: error,
    });
  }
  return new Failure('unreachable', {
    message: `The platform at ${url} does not answer.`,
    hint: 'Start it with: libra up — or name another one with LIBRA_URL.',
    cause: error,
  });
}

/** The text of a body, refused beyond the bound. */
async function readText(response: HttpReply): Promise<string> {
  if (response.body === null) return '';
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    bytes += part.value.length;
    if (bytes > REPLY_LIMIT_BYTES) {
      await reader.cancel();
      throw new Failure('too_large', { message: `The reply is larger than ${REPLY_LIMIT_BYTES} bytes.` });
    }
    text += decoder.decode(part.value, { stream: true });
  }
  return text + decoder.decode();
}

/** The reply's JSON value; throws the Failure that a problem document tells of. */
export async function readReply(response: HttpReply, url: string): Promise<unknown> {
  const text = await readText(response);
  let value: unknown;
  try {
    value = text === '' ? undefined : JSON.parse(text);
  } catch (error) {
    throw strange(response, url, error);
  }
  if (response.ok) return value;
  throw failureOf(value) ?? strange(response, url, undefined);
}

function strange(response: HttpReply, url: string, cause: unknown): Failure {
  return new Failure('unreachable', {
    message: `What answers at ${url} is not the API of Libra (status ${response.status}, ${response.headers.get('content-type') ?? 'no type'}).`,
    hint: 'Check the address: LIBRA_URL, or the port of the API in `libra status`.',
    cause,
  });
}

export type RequestBody = string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>;

export interface RequestInput {
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: RequestBody | null;
}

/** Sends once; resolves with whatever status comes back. */
export async function send(transport: Transport, endpoint: Endpoint, input: RequestInput, signal: AbortSignal): Promise<HttpReply> {
  const token = await transport.token();
  const url = transport.url + pathOf(endpoint.path, input.params, input.query);
  try {
    return await transport.fetch(url, {
      method: endpoint.method,
      headers: { ...transport.headers, ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...input.headers },
      body: input.body,
      signal,
      redirect: 'error',
      ...(input.body === null || typeof input.body === 'string' || input.body instanceof Uint8Array ? {} : { duplex: 'half' as const }),
    });
  } catch (error) {
    throw connectionFailure(error, transport.url, signal);
  }
}

/** True where the same request may simply be sent again: the platform did not answer, or an earlier try of ours is still at work. */
function repeatable(error: unknown): boolean {
  return isFailure(error, 'unreachable') || (isFailure(error, 'conflict') && error.details?.['inFlight'] === true);
}

/** Another control plane takes over from the one that led, which is known to take only seconds. */
export function isMoving(error: unknown): boolean {
  return isFailure(error, 'unavailable') && error.details?.['moving'] === true;
}

/** What was asked for has not been begun, whatever it is. */
const isUntouched = (error: unknown): boolean =>
  isMoving(error) && isFailure(error, 'unavailable') && error.details?.['untouched'] === true;

/** So long a call waits for a control plane that leads, milliseconds. */
export const MOVING_MS = 20_000;

/** Runs `attempt` again while it fails in a way that is safe to repeat. @param safe even where it was perhaps carried out */
export async function withRetries<T>(transport: Transport, safe: boolean, signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
  const patientUntilMs = transport.clock.monotonic() + MOVING_MS;
  for (let tries = 1; ; tries += 1) {
    try {
      return await attempt();
    } catch (error) {
      const again = isMoving(error) ? transport.clock.monotonic() < patientUntilMs : tries < transport.attempts && repeatable(error);
      if (!again || signal.aborted || !(safe || isUntouched(error))) throw error;
      await transport.clock.sleep(backoffMs(tries - 1, RETRY, transport.random), signal);
    }
  }
}
