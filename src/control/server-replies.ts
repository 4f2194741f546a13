// How each kind of endpoint answers over fastify: JSON with ETag, If-Match and Idempotency-Key, event streams, uploads, downloads.

import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../lib/clock.ts';
import { Failure, isFailure } from '../lib/failure.ts';
import type { Log } from '../sys/log.ts';
import type { AnyCall, Bound } from './server-bind.ts';
import type { Download, Principal, StreamItem } from './handler.ts';
import type { ServerLimits } from './server-http.ts';
import { requestHash } from './server-idempotency.ts';
import type { IdempotencyStore } from './server-idempotency.ts';
import { callForJson, prepare, repeatLostRace } from './server-pipeline.ts';
import type { Gate } from './server-pipeline.ts';
import { checkIfMatch, createSerializer, etagOf, notModified } from './server-precondition.ts';
import { HttpFailure } from './server-problem.ts';
import { openStream } from './server-sse.ts';
import { downloadHead, parseRange } from './server-transfer.ts';

export interface Exchange {
  readonly bound: Bound;
  readonly principal: Principal;
  readonly startedMs: number;
}

export interface RepliesDeps {
  readonly gate: Gate;
  readonly idempotency: IdempotencyStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: ServerLimits;
  /** Aborts when the server stops. */
  readonly stopping: AbortSignal;
}

export interface Replies {
  /** Runs the call and sends its reply; what it throws becomes a problem. */
  answer(exchange: Exchange, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply>;
  /** Starts the deadline of the request's body; a sender that is too slow is cut off. */
  armBody(request: FastifyRequest): void;
  disarmBody(request: FastifyRequest): void;
}

function header(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name];
  return typeof value === 'string' ? value : value?.[0];
}

interface Answer {
  readonly status: number;
  /** JSON text; null for an empty reply. */
  readonly body: string | null;
  readonly headers: Readonly<Record<string, string>>;
}

function sendAnswer(reply: FastifyReply, { status, body, headers }: Answer): FastifyReply {
  void reply.headers(headers);
  if (body === null) return reply.code(status === 200 ? 204 : status).send();
  return reply.code(status).header('content-type', 'application/json').send(body);
}

export function createReplies(deps: RepliesDeps): Replies {
  const { gate, clock, limits } = deps;
  const serialize = createSerializer();
  const bodyTimers = new WeakMap<FastifyRequest, () => void>();
  let streams = 0;

  /** Aborts when the client goes before the reply is complete, or the server stops (streams only). */
  const controllerFor = (reply: FastifyReply, breakOnStop: boolean): AbortController => {
    const controller = new AbortController();
    const onStop = (): void => controller.abort(deps.stopping.reason);
    if (breakOnStop) {
      if (deps.stopping.aborted) onStop();
      deps.stopping.addEventListener('abort', onStop, { once: true });
    }
    reply.raw.once('close', () => {
      deps.stopping.removeEventListener('abort', onStop);
      if (!reply.raw.writableFinished) controller.abort(new Failure('canceled', { message: 'The client has gone.' }));
    });
    return controller;
  };

  const ready = async (exchange: Exchange, request: FastifyRequest, signal: AbortSignal): Promise<AnyCall> => {
    const { kind } = exchange.bound.endpoint;
    return await prepare(gate, exchange.bound, {
      params: request.params,
      query: request.query,
      body: request.body,
      principal: exchange.principal,
      requestId: request.id,
      signal,
      lastEventId: kind === 'sse' ? (header(request, 'last-event-id')?.slice(0, 500) ?? null) : null,
      stream: kind === 'upload' ? request.raw : null,
      range: kind === 'download' ? parseRange(header(request, 'range')) : null,
    });
  };

  const read = async (bound: Bound, call: AnyCall, request: FastifyRequest): Promise<Answer> => {
    const body = await callForJson(bound, call);
    if (body === null) return { status: bound.endpoint.status, body, headers: {} };
    const etag = etagOf(body);
    const fresh = notModified(header(request, 'if-none-match'), etag);
    return { status: fresh ? 304 : bound.endpoint.status, body: fresh ? null : body, headers: { etag } };
  };

  /** The ETag that a GET of the same path would answer with now; null where there is no such object. */
  const currentEtag = async (twin: Bound, call: AnyCall): Promise<string | null> => {
    try {
      const body = await callForJson(twin, await prepare(gate, twin, { ...call, query: {}, body: undefined }));
      return body === null ? null : etagOf(body);
    } catch (error) {
      if (isFailure(error, 'not_found')) return null;
      throw error;
    }
  };

  const guarded = async (exchange: Exchange, call: AnyCall, request: FastifyRequest): Promise<string | null> => {
    const { bound } = exchange;
    const ifMatch = header(request, 'if-match');
    if (ifMatch === undefined) return await repeatLostRace(() => callForJson(bound, call));
    const { twin } = bound;
    if (twin === null || !exchange.principal.permissions.has(twin.endpoint.permission)) {
      throw new Failure('invalid_input', { message: `${bound.name} does not take If-Match: there is nothing to compare with.` });
    }
    const path = request.url.split('?', 1)[0] ?? '';
    return await serialize(path, () =>
      repeatLostRace(async () => {
        checkIfMatch(ifMatch, await currentEtag(twin, call));
        return await callForJson(bound, call);
      }),
    );
  };

  const write = async (exchange: Exchange, call: AnyCall, request: FastifyRequest): Promise<Answer> => {
    const { status, tellsSecret } = exchange.bound.endpoint;
    const key = header(request, 'idempotency-key');
    if (key === undefined) return { status, body: await guarded(exchange, call, request), headers: {} };
    if (!/^[\x21-\x7e]{1,200}$/u.test(key)) {
      throw new Failure('invalid_input', { message: 'An Idempotency-Key must be 1 to 200 visible ASCII characters.' });
    }
    // The key itself is never stored, so that a kept hash of a request with a Secret cannot be guessed at.
    const hash = requestHash([key, request.method, request.url, JSON.stringify(request.body ?? null)]);
    const begun = await deps.idempotency.begin(`${exchange.principal.kind}/${exchange.principal.name}`, key, hash);
    if (begun.state === 'replay') return { ...begun.reply, headers: { 'idempotency-replayed': 'true' } };
    let body: string | null;
    try {
      body = await guarded(exchange, { ...call, recordId: begun.recordId }, request);
    } catch (error) {
      begun.abandon();
      throw error;
    }
    await begun.finish(tellsSecret ? 'secret' : { status, body }).catch((error: unknown) => {
      // What was asked is done; only a repeat would run again, with the same recordId.
      deps.log.warn({ requestId: request.id, error }, 'the reply of an idempotent request could not be kept');
    });
    return { status, body, headers: {} };
  };

  /** The call goes on after its deadline, so that its outcome is kept for a repeat; only the client stops waiting. */
  const json = async (exchange: Exchange, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const { bound } = exchange;
    const controller = controllerFor(reply, false);
    const call = await ready(exchange, request, controller.signal);
    const work = bound.endpoint.method === 'GET' ? read(bound, call, request) : write(exchange, call, request);
    let cancel = (): void => undefined;
    const late = new Promise<never>((_resolve, reject) => {
      cancel = clock.timer(limits.handlerMs, () => {
        const failure = new Failure('timeout', { message: `${bound.name} did not end within ${limits.handlerMs} ms.` });
        controller.abort(failure);
        reject(failure);
      });
    });
    const answer = await Promise.race([work, late]).finally(() => cancel());
    return sendAnswer(reply, answer);
  };

  const stream = async (exchange: Exchange, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    if (streams >= limits.streams) {
      throw new Failure('rate_limited', { message: `More than ${limits.streams} event streams are open.` });
    }
    streams += 1;
    try {
      const { bound } = exchange;
      const { signal } = controllerFor(reply, true);
      const call = await ready(exchange, request, signal);
      const items = bound.handler(call) as AsyncIterable<StreamItem<unknown>>; // what Handler says for the kind sse
      const context = { ...deps, heartbeatMs: limits.heartbeatMs, slowReaderMs: limits.slowReaderMs, requestId: request.id, signal };
      const opened = await openStream(items, { ...context, parse: (data) => bound.parseReply(data) });
      reply.hijack();
      await opened.send(reply.raw, reply.getHeaders());
      return reply;
    } finally {
      streams -= 1;
    }
  };

  const upload = async (exchange: Exchange, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    request.raw.setTimeout(limits.transferIdleMs, () => request.raw.destroy());
    try {
      const call = await ready(exchange, request, controllerFor(reply, false).signal);
      const body = await callForJson(exchange.bound, call);
      return sendAnswer(reply, { status: exchange.bound.endpoint.status, body, headers: {} });
    } catch (error) {
      // The rest of the body is not wanted: take it for a moment, so that the client gets to read why, and end the connection.
      void reply.header('connection', 'close');
      const cut = clock.timer(5000, () => request.raw.destroy());
      request.raw.once('close', cut).resume();
      throw error;
    }
  };

  const download = async (exchange: Exchange, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const call = await ready(exchange, request, controllerFor(reply, false).signal);
    const opened = await (exchange.bound.handler(call) as Promise<Download>); // what Handler says for the kind download
    try {
      const head = downloadHead(opened, call.range);
      void reply.code(head.status).headers(head.headers);
    } catch (error) {
      opened.body.destroy();
      throw error;
    }
    if (request.method === 'HEAD') {
      opened.body.destroy();
      return reply.send('');
    }
    reply.raw.setTimeout(limits.transferIdleMs, () => reply.raw.destroy());
    return reply.send(opened.body);
  };

  return {
    answer: async (exchange, request, reply) => {
      const { endpoint } = exchange.bound;
      switch (endpoint.kind) {
        case 'json':
          return await json(exchange, request, reply);
        case 'sse':
          return await stream(exchange, request, reply);
        case 'upload':
          return await upload(exchange, request, reply);
        case 'download':
          return await download(exchange, request, reply);
        case 'socket':
          throw new HttpFailure(
            new Failure('invalid_input', { message: 'This endpoint is a WebSocket: the request must ask for an upgrade.' }),
            426,
            { upgrade: 'websocket', connection: 'Upgrade' },
          );
      }
    },
    armBody: (request) => {
      bodyTimers.set(
        request,
        clock.timer(limits.bodyMs, () => request.raw.destroy()),
      );
    },
    disarmBody: (request) => {
      bodyTimers.get(request)?.();
      bodyTimers.delete(request);
    },
  };
}
