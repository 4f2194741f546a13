// HTTP to the engine, and nothing that knows what is said over it. Every request has a deadline until its answer begins, and problems come
// back as Failures that carry the engine's own words.

import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import type { ClientRequest, IncomingMessage, RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure, isFailure, messageOf } from '../../lib/failure.ts';
import type { FailureCode } from '../../lib/failure.ts';
import type { EngineEndpoint } from './endpoint.ts';
import { textOf } from './fields.ts';

const DEADLINE_MS = 30_000;
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
const MAX_PROBLEM_BYTES = 64 * 1024;
/** Short requests at the same time; more wait. Streams have connections of their own. */
const MAX_CONNECTIONS = 16;

export interface EngineRequest {
  readonly query?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
}

export interface StreamRequest extends EngineRequest {
  /** Sent as it is, instead of a body. */
  readonly upload?: { readonly stream: Readable; readonly type: string };
  readonly headers?: Readonly<Record<string, string>>;
}

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE' | 'HEAD';

export interface EngineHttp {
  /** The answer as JSON; null where it is empty. */
  call(method: Method, path: string, options?: EngineRequest): Promise<unknown>;
  /** The status and headers alone; problems included. */
  look(path: string, options?: EngineRequest): Promise<{ readonly status: number; readonly headers: IncomingMessage['headers'] }>;
  /** The answer as a stream, without a deadline once it has begun. Destroy it when done. */
  stream(method: Method, path: string, options?: StreamRequest): Promise<IncomingMessage>;
  /** The connection itself, once the engine has agreed to hand it over. */
  hijack(path: string, body: unknown, options?: Pick<EngineRequest, 'deadlineMs'>): Promise<Duplex>;
  close(): void;
}

/** HTTP status that the engine refused with; null where it did not answer at all. */
export function engineStatus(error: unknown): number | null {
  const status = isFailure(error) ? error.details?.['engineStatus'] : undefined;
  return typeof status === 'number' ? status : null;
}

/** The same; null where the engine answers that there is no such thing. */
export async function orNull<T>(going: Promise<T>): Promise<T | null> {
  try {
    return await going;
  } catch (error) {
    if (engineStatus(error) === 404) return null;
    throw error;
  }
}

const CODES: Readonly<Record<number, FailureCode>> = { 400: 'invalid_input', 403: 'conflict', 404: 'not_found', 409: 'conflict' };

export function createEngineHttp(endpoint: EngineEndpoint): EngineHttp {
  const limits = { keepAlive: true, maxSockets: MAX_CONNECTIONS, maxFreeSockets: 2, timeout: 60_000 };
  const tls = endpoint.kind === 'tcp' ? endpoint.tls : null;
  const agent = tls === null ? new HttpAgent(limits) : new HttpsAgent({ ...limits, ...tls });
  const place = endpoint.kind === 'unix' ? endpoint.path : `${endpoint.host}:${endpoint.port}`;
  const to: RequestOptions =
    endpoint.kind === 'unix' ? { socketPath: endpoint.path } : { host: endpoint.host, port: endpoint.port, ...tls };

  const unreachable = (error: unknown, path: string): Failure =>
    new Failure('unreachable', {
      message: `The Docker engine at ${place} does not answer (${path}): ${messageOf(error)}.`,
      hint: 'Is Docker running, and may librad use its socket? Containers that run go on running meanwhile.',
      cause: error,
    });

  const open = (method: Method, path: string, options: StreamRequest, own: boolean): { request: ClientRequest; payload: string | null } => {
    const query = new URLSearchParams(options.query).toString();
    const payload = options.body === undefined ? null : JSON.stringify(options.body);
    const request = (tls === null ? httpRequest : httpsRequest)({
      ...to,
      method,
      path: query === '' ? path : `${path}?${query}`,
      agent: own ? false : agent,
      headers: {
        // Certificates are checked against it.
        host: endpoint.kind === 'unix' ? 'docker' : place,
        ...(payload === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }),
        ...(options.upload === undefined ? {} : { 'content-type': options.upload.type }),
        ...options.headers,
      },
    });
    return { request, payload };
  };

  /** Resolves with the head of the answer, or rejects at the deadline, the abort or a broken connection. */
  const begin = (method: Method, path: string, options: StreamRequest, own: boolean): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      options.signal?.throwIfAborted();
      const { request, payload } = open(method, path, options, own);
      const deadlineMs = options.deadlineMs ?? DEADLINE_MS;
      const timer = setTimeout(() => {
        request.destroy(new Error(`no answer within ${deadlineMs / 1000} s`));
      }, deadlineMs);
      const onAbort = (): void => {
        request.destroy(options.signal?.reason instanceof Error ? options.signal.reason : new Error('aborted'));
      };
      options.signal?.addEventListener('abort', onAbort, { once: true });
      const settle = (): void => {
        clearTimeout(timer);
      };
      request.once('close', () => {
        settle();
        options.signal?.removeEventListener('abort', onAbort);
      });
      request.once('response', (response) => {
        settle();
        resolve(response);
      });
      request.on('error', (error) => {
        settle();
        reject(options.signal?.aborted === true ? options.signal.reason : unreachable(error, path));
      });
      if (options.upload === undefined) request.end(payload ?? undefined);
      else pipeline(options.upload.stream, request).catch((error: unknown) => request.destroy(error instanceof Error ? error : undefined));
    });

  const bodyOf = async (response: IncomingMessage, maxBytes: number): Promise<Buffer> => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of response) {
      const buffer = Buffer.from(chunk);
      bytes += buffer.length;
      if (bytes > maxBytes) {
        response.destroy();
        throw new Failure('too_large', { message: `The Docker engine answered with more than ${maxBytes} bytes.` });
      }
      chunks.push(buffer);
    }
    return Buffer.concat(chunks);
  };

  const parse = (text: string): unknown => {
    try {
      return JSON.parse(text);
    } catch {
      return null;
    }
  };

  const refuse = async (response: IncomingMessage, path: string): Promise<never> => {
    const status = response.statusCode ?? 0;
    const text = (await bodyOf(response, MAX_PROBLEM_BYTES)).toString('utf8');
    const message = textOf(parse(text), 'message') ?? text.trim();
    throw new Failure(CODES[status] ?? 'unavailable', {
      message: `Docker: ${message === '' ? `HTTP ${status} on ${path}` : message}`,
      details: { engineStatus: status },
    });
  };

  const isOkay = (response: IncomingMessage): boolean => (response.statusCode ?? 0) < 400;

  return {
    call: async (method, path, options = {}) => {
      const signal = AbortSignal.any([
        AbortSignal.timeout(options.deadlineMs ?? DEADLINE_MS),
        ...(options.signal === undefined ? [] : [options.signal]),
      ]);
      try {
        const response = await begin(method, path, { ...options, signal }, false);
        if (!isOkay(response)) return await refuse(response, path);
        const body = await bodyOf(response, MAX_ANSWER_BYTES);
        return body.length === 0 ? null : parse(body.toString('utf8'));
      } catch (error) {
        if (isFailure(error) || options.signal?.aborted === true) throw error;
        throw unreachable(error, path);
      }
    },
    look: async (path, options = {}) => {
      const response = await begin('HEAD', path, options, false);
      response.resume();
      return { status: response.statusCode ?? 0, headers: response.headers };
    },
    stream: async (method, path, options = {}) => {
      const response = await begin(method, path, options, true);
      return isOkay(response) ? response : await refuse(response, path);
    },
    hijack: (path, body, options = {}) =>
      new Promise((resolve, reject) => {
        const headers = { connection: 'Upgrade', upgrade: 'tcp' };
        const { request, payload } = open('POST', path, { body, headers }, true);
        const timer = setTimeout(() => request.destroy(new Error('no answer')), options.deadlineMs ?? DEADLINE_MS);
        request.once('close', () => clearTimeout(timer));
        request.once('upgrade', (_response, socket, head) => {
          clearTimeout(timer);
          if (head.length > 0) socket.unshift(head);
          resolve(socket);
        });
        request.once('response', (response) => {
          refuse(response, path).catch(reject);
        });
        request.on('error', (error) => reject(unreachable(error, path)));
        request.end(payload ?? undefined);
      }),
    close: () => agent.destroy(),
  };
}
