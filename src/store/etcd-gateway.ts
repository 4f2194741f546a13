// Calls to an etcd cluster over the JSON gateway that each of its members has (etcd 3.4 and later, API v3). One member is asked until it
// fails, then the next. What may have been carried out is never sent a second time.

import http from 'node:http';
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import { text } from 'node:stream/consumers';
import { Failure, messageOf } from '../lib/failure.ts';

export interface EtcdGateway {
  /** @param path below `/v3/`. Throws `unavailable` where no member answers, else what the cluster refuses with. */
  call(path: string, body: unknown, options: CallOptions): Promise<Reply>;
  /** The messages of a stream, one after the other, until the signal aborts. Throws as `call` does, and `unavailable` where it breaks. */
  stream(path: string, body: unknown, signal: AbortSignal): AsyncIterable<Reply>;
  close(): void;
}

export interface CallOptions {
  /** Carried out twice it does what it does once: where an answer does not come, another member is asked. */
  readonly repeatable: boolean;
  /** So long one member is waited for at most, where that is less than usual. */
  readonly deadlineMs?: number;
}

export interface GatewayOptions {
  /** PEM. */
  readonly tls?: { readonly ca: string; readonly cert?: string; readonly key?: string };
  readonly login?: { readonly name: string; readonly password: string };
}

/** As JSON has it: numbers of 64 bits are texts, bytes are base64. */
export type Reply = Readonly<Record<string, unknown>>;

/** gRPC status codes (https://grpc.github.io/grpc/core/md_doc_statuscodes.html). */
const CODE = { invalidArgument: 3, notFound: 5, resourceExhausted: 8, outOfRange: 11, unavailable: 14, unauthenticated: 16 } as const;

const CALL_MS = 10_000;
/** Of what another member can be asked just as well: one that is stuck shall not cost whoever waits his lease. */
const REPEATABLE_MS = 3_000;
const SOCKETS = 64;
/** Of one message; a page of a thousand values of the largest size. */
const MESSAGE_BYTES = 512 * 1024 * 1024;

/** The cluster refused the call. */
export class EtcdRefusal extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
  get isNotFound(): boolean {
    return this.code === CODE.notFound;
  }
  get isCompacted(): boolean {
    return this.code === CODE.outOfRange;
  }
}

/** @param endpoints such as `http://127.0.0.1:2379`; at least one. */
export function createEtcdGateway(endpoints: readonly string[], { tls = { ca: '' }, login }: GatewayOptions = {}): EtcdGateway {
  const sockets = { keepAlive: true, maxSockets: SOCKETS };
  const { ca, ...own } = tls;
  const plain = new http.Agent(sockets);
  const secure = new https.Agent({ ...sockets, ...own, ...(ca === '' ? {} : { ca }) });
  let current = 0;
  let token: Promise<string> | null = null;

  const send = (endpoint: string, path: string, body: unknown, signal: AbortSignal, authorization: string): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const isSecure = endpoint.startsWith('https:');
      const request = (isSecure ? https : http).request(`${endpoint}/v3/${path}`, {
        method: 'POST',
        agent: isSecure ? secure : plain,
        signal,
        headers: { 'content-type': 'application/json', ...(authorization === '' ? {} : { authorization }) },
      });
      request.on('response', resolve);
      request.on('error', reject);
      request.end(JSON.stringify(body));
    });

  const logIn = async (endpoint: string, { name, password }: { readonly name: string; readonly password: string }): Promise<string> => {
    const answer = await send(endpoint, 'auth/authenticate', { name, password }, AbortSignal.timeout(REPEATABLE_MS), '');
    return String(replyOf(answer, await text(answer))['token']);
  };
  /** For the calls that follow, until the cluster knows it no longer. */
  const authorized = async <T>(endpoint: string, attempt: (authorization: string) => Promise<T>): Promise<T> => {
    if (login === undefined) return await attempt('');
    for (let tries = 0; ; tries += 1) {
      const its = (token ??= logIn(endpoint, login));
      try {
        return await attempt(await its);
      } catch (error) {
        if (token === its) token = null;
        if (!(error instanceof EtcdRefusal) || error.code !== CODE.unauthenticated || tries > 0) throw error;
      }
    }
  };

  /** What was not sent, or may be sent again, goes to each member once. */
  const ask = async <T>(path: string, isRepeatable: boolean, attempt: (endpoint: string) => Promise<T>): Promise<T> => {
    let last: unknown = null;
    for (let tries = 0; tries < endpoints.length; tries += 1) {
      const at = current;
      const endpoint = endpoints[at % endpoints.length] ?? '';
      try {
        return await attempt(endpoint);
      } catch (error) {
        const refused = error instanceof EtcdRefusal;
        if (refused && error.code !== CODE.unavailable) throw mapped(error);
        last = error;
        if (current === at) current = (at + 1) % endpoints.length;
        if (!isRepeatable && !wasNotSent(error)) break;
      }
    }
    throw new Failure('unavailable', {
      message: `The etcd cluster does not answer (${path}): ${messageOf(last)}`,
      hint: 'See whether most of its members run and can be reached.',
      cause: last,
    });
  };

  return {
    call: (path, body, { repeatable, deadlineMs = CALL_MS }) =>
      ask(path, repeatable, (endpoint) =>
        authorized(endpoint, async (authorization) => {
          const waitMs = Math.min(deadlineMs, repeatable ? REPEATABLE_MS : CALL_MS);
          const answer = await send(endpoint, path, body, AbortSignal.timeout(waitMs), authorization);
          return replyOf(answer, await text(answer));
        }),
      ),
    stream: async function* (path, body, signal) {
      let answer: IncomingMessage | null = null;
      try {
        answer = await ask(path, true, (endpoint) =>
          authorized(endpoint, (authorization) => begun(signal, (both) => send(endpoint, path, body, both, authorization))),
        );
        for await (const line of linesOf(answer)) {
          const reply = parse(line);
          const { result, error } = reply;
          if (isRecord(result)) yield result;
          else throw mapped(refusalOf(isRecord(error) ? error : reply, answer.statusCode ?? 0));
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Failure || error instanceof EtcdRefusal) throw error;
        throw new Failure('unavailable', { message: `A stream of the etcd cluster broke (${path}): ${messageOf(error)}`, cause: error });
      } finally {
        answer?.destroy();
      }
      if (!signal.aborted) throw new Failure('unavailable', { message: `A stream of the etcd cluster has ended (${path}).` });
    },
    close: () => {
      plain.destroy();
      secure.destroy();
    },
  };
}

/** A stream has no deadline, but its beginning has: a member that is stuck takes the connection and says nothing. */
async function begun<T>(signal: AbortSignal, open: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new Error('the member does not begin the stream')), REPEATABLE_MS);
  try {
    return await open(AbortSignal.any([signal, late.signal]));
  } finally {
    clearTimeout(timer);
  }
}

/** No connection came about. */
function wasNotSent(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    (error.code === 'ECONNREFUSED' || error.code === 'EHOSTUNREACH' || error.code === 'ENOTFOUND')
  );
}

/** What the callers of the store can do something about. */
function mapped(refusal: EtcdRefusal): Error {
  if (refusal.code !== CODE.resourceExhausted) return refusal;
  return new Failure('storage_failed', {
    message: `The etcd cluster takes no more: ${refusal.message}`,
    hint: 'Where its space is exceeded: compact, defragment, raise its quota and disarm the alarm (etcdctl).',
    cause: refusal,
  });
}

function refusalOf(reply: Reply, status: number): EtcdRefusal {
  const { code, grpc_code: grpcCode, message, error } = reply;
  const number =
    typeof code === 'number' ? code : typeof grpcCode === 'number' ? grpcCode : status >= 500 ? CODE.unavailable : CODE.invalidArgument;
  const words = typeof message === 'string' ? message : typeof error === 'string' ? error : `HTTP ${status}`;
  return new EtcdRefusal(number, words);
}

/** Throws what the cluster refuses with. */
function replyOf({ statusCode = 0 }: IncomingMessage, body: string): Reply {
  if (statusCode === 200) return parse(body);
  // What stands before the gateway speaks plain text.
  throw refusalOf(body.startsWith('{') ? parse(body) : { error: body.trim().slice(0, 300) }, statusCode);
}

function parse(json: string): Reply {
  const value: unknown = JSON.parse(json);
  if (!isRecord(value)) throw new Error('what the etcd cluster says is no object');
  return value;
}

export function isRecord(value: unknown): value is Reply {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

async function* linesOf(stream: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let pieces: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    let at = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, at)) {
      pieces.push(chunk.subarray(at, end));
      yield Buffer.concat(pieces).toString('utf8');
      pieces = [];
      bytes = 0;
      at = end + 1;
    }
    pieces.push(chunk.subarray(at));
    bytes += chunk.length - at;
    if (bytes > MESSAGE_BYTES) throw new Error('a message is too long');
  }
  const rest = Buffer.concat(pieces).toString('utf8');
  if (rest.trim() !== '') yield rest;
}
