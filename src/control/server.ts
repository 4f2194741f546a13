// The API's server: binds the endpoint table to its handlers on fastify. Everything that decides anything stands in server-pipeline.ts;
// here is only how requests come in and replies go out. fastify's own validation is not used, because it drops unknown fields.

import { fastify } from 'fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest, InjectOptions, LightMyRequestResponse } from 'fastify';
import { STATUS_CODES } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import type { SecureContextOptions } from 'node:tls';
import type { EndpointTable } from '../api/endpoint.ts';
import { PROBLEM_TYPE, problemOf } from '../api/problem.ts';
import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import type { FailureCode } from '../lib/failure.ts';
import { newId } from '../lib/id.ts';
import type { Random } from '../lib/id.ts';
import type { Log } from '../sys/log.ts';
import type { HandlersOf, Principal } from './handler.ts';
import { bindTable } from './server-bind.ts';
import type { Bound } from './server-bind.ts';
import { createGuard, isLoopbackHost } from './server-guard.ts';
import { parseQueryString, requestIdOf, SERVER_LIMITS } from './server-http.ts';
import type { AuditEntry, ServerLimits } from './server-http.ts';
import type { IdempotencyStore } from './server-idempotency.ts';
import { parseJsonBody } from './server-json.ts';
import { FORWARDED, REVISION } from './leadership/peer.ts';
import { headMsOf, vouchedIn, vouchFor } from './server-hand-on.ts';
import type { HandOn } from './server-hand-on.ts';
import { ANONYMOUS, identify, requirePermission } from './server-pipeline.ts';
import type { Gate } from './server-pipeline.ts';
import { problemReply } from './server-problem.ts';
import { createReplies } from './server-replies.ts';
import type { Exchange } from './server-replies.ts';
import { routerPath, unknownRoute } from './server-routes.ts';
import { createSockets } from './server-socket.ts';

export type { AuditEntry, ServerLimits } from './server-http.ts';

export interface ServerOptions<T extends EndpointTable> extends Gate {
  readonly table: T;
  readonly handlers: HandlersOf<T>;
  readonly idempotency: IdempotencyStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly version: string;
  /** Base domain of Apps: `libra.<domain>` is a name of this API. */
  readonly domain: string;
  /** Further host names that it answers to on loopback. */
  readonly allowedHosts?: readonly string[];
  readonly allowedOrigins?: readonly string[];
  readonly limits?: Partial<ServerLimits>;
  /** PEM; without it only loopback may be bound (invariant 10). */
  readonly tls?: ServerTls;
  /** Prometheus text for /metrics, which needs `platform.read`: loopback is no proof of anything where Apps run beside. */
  readonly metrics?: () => string | Promise<string>;
  /** Called once per write and per socket of the public contract, done or refused; must not throw. */
  readonly audit?: (entry: AuditEntry) => void;
  /** Hands on what another control plane answers; absent: there is no other. */
  readonly handOn?: HandOn;
}

export interface ServerTls {
  readonly key: string;
  readonly cert: string;
  /** Whose certificates stand for a credential; absent: nobody's. */
  readonly ca?: string;
}

export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  readonly url: string;
}

export interface Server {
  /** Port 0 takes a free one. Throws `port_taken`, or `invalid_input` for a plain API off loopback. */
  start(options: { readonly host: string; readonly port: number }): Promise<ServerAddress>;
  /** What it shows from the next connection on. */
  renew(tls: ServerTls): void;
  /** Takes no new calls, breaks off streams and sockets (their clients come back), waits for open calls up to the limit. */
  stop(): Promise<void>;
  /** A request without a socket, for tests. */
  inject(options: InjectOptions): Promise<LightMyRequestResponse>;
}

export function createServer<T extends EndpointTable>(options: ServerOptions<T>): Server {
  const { clock, log } = options;
  const limits: ServerLimits = { ...SERVER_LIMITS, ...options.limits };
  const { handOn } = options;
  const gate: Gate = handOn === undefined ? options : { ...options, vouched: (request) => vouchedIn(handOn, request) };
  const all = bindTable(options.table, options.handlers);
  const stopping = new AbortController();
  let boundToLoopback = true;
  const guard = createGuard({
    loopback: () => boundToLoopback,
    domain: options.domain,
    allowedHosts: options.allowedHosts ?? [],
    allowedOrigins: options.allowedOrigins ?? [],
  });
  const requestId = (headers: IncomingMessage['headers'] | Readonly<Record<string, string | readonly string[] | undefined>>): string =>
    requestIdOf(headers, () => newId(clock.now(), options.random));
  const audit = options.audit ?? ((): void => undefined);
  const exchanges = new WeakMap<FastifyRequest, Exchange>();
  const codes = new WeakMap<FastifyRequest, FailureCode>();
  const replies = createReplies({ gate, idempotency: options.idempotency, clock, log, limits, stopping: stopping.signal });
  const sockets = createSockets({ all, gate, guard, requestId, clock, log, limits, audit, handOn: options.handOn ?? null });

  const app = fastify({
    logger: false,
    requestIdHeader: false,
    genReqId: (request) => requestId(request.headers),
    exposeHeadRoutes: false,
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    keepAliveTimeout: 72_000,
    requestTimeout: 0, // uploads may be long; headers and bodies have deadlines of their own
    clientErrorHandler: (error, socket) => answerBroken(error, socket),
    routerOptions: { maxParamLength: 400, querystringParser: parseQueryString },
    frameworkErrors: (error, request, reply) => {
      void sendProblem(request, reply, error);
    },
    ...transportOptions(options.tls, limits),
  });

  const sendProblem = (request: FastifyRequest, reply: FastifyReply, error: unknown): FastifyReply => {
    const { status, headers, problem } = problemReply(error, request.id, log);
    codes.set(request, problem.code);
    return reply
      .code(status)
      .headers({ ...headers, 'x-request-id': request.id })
      .serializer((value: unknown) => String(value))
      .send(JSON.stringify(problem));
  };

  app.addHook('onRequest', async (request, reply) => {
    reply.headers({ 'x-request-id': request.id, 'x-content-type-options': 'nosniff', 'cache-control': 'no-store' });
    guard(request.method, request.headers);
  });
  app.setErrorHandler((error, request, reply) => sendProblem(request, reply, error));
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0] ?? '/';
    return sendProblem(request, reply, unknownRoute(all, request.method, path));
  });
  useJsonBodies(app);

  const addRoute = (target: FastifyInstance, bound: Bound, method: string): void => {
    const { endpoint } = bound;
    target.route({
      method,
      url: routerPath(endpoint.path),
      bodyLimit: endpoint.bodyLimitBytes,
      onRequest: async (request, reply) => {
        const leader = options.handOn?.leaderFor(bound, request.headers) ?? null;
        if (leader !== null && options.handOn !== undefined) {
          // What has no end of its own ends with this server.
          const moved = endpoint.kind === 'json' ? leader.moved : AbortSignal.any([leader.moved, stopping.signal]);
          const headers = vouchFor(options.handOn, bound, request.raw);
          const to = { leader: { ...leader, moved }, requestId: request.id, headMs: headMsOf(endpoint, limits), headers };
          await options.handOn.forward.call(request.raw, reply.raw, to);
          // Only now: what failed before the reply is answered as any failure is.
          return reply.hijack();
        }
        const startedMs = clock.monotonic();
        exchanges.set(request, { bound, principal: ANONYMOUS, startedMs });
        const principal = await identify(gate, bound, request.raw);
        exchanges.set(request, { bound, principal, startedMs });
        requirePermission(bound, principal);
        if (endpoint.kind === 'json') replies.armBody(request);
        return undefined;
      },
      preHandler: async (request) => replies.disarmBody(request),
      onSend: async (request, reply) => {
        // Whoever called through another control plane reads there next.
        if (options.handOn !== undefined && endpoint.method !== 'GET' && request.headers[FORWARDED] !== undefined)
          void reply.header(REVISION, String(options.handOn.revision()));
      },
      onResponse: async (request, reply) => {
        replies.disarmBody(request);
        report(request, reply);
      },
      handler: (request, reply) => {
        const exchange = exchanges.get(request);
        if (exchange === undefined) throw new Failure('internal', { message: 'A request came past its own hooks.' });
        return replies.answer(exchange, request, reply);
      },
    });
  };

  const report = (request: FastifyRequest, reply: FastifyReply): void => {
    const exchange = exchanges.get(request);
    if (exchange === undefined) return;
    const durationMs = clock.monotonic() - exchange.startedMs;
    const { name, endpoint } = exchange.bound;
    log.debug(
      { requestId: request.id, endpoint: name, status: reply.statusCode, principal: exchange.principal.name, durationMs },
      'request',
    );
    if (endpoint.method === 'GET' || endpoint.internal) return;
    audit({
      atMs: clock.now(),
      requestId: request.id,
      principal: exchange.principal,
      endpoint: name,
      method: request.method,
      params: request.params as Readonly<Record<string, string>>, // the router gives text only
      status: reply.statusCode,
      code: codes.get(request) ?? null,
      durationMs,
    });
  };

  for (const bound of all) {
    if (bound.endpoint.kind === 'upload') continue;
    addRoute(app, bound, bound.endpoint.method);
    if (bound.endpoint.method === 'GET' && (bound.endpoint.kind === 'json' || bound.endpoint.kind === 'download'))
      addRoute(app, bound, 'HEAD');
  }
  void app.register(async (uploads) => {
    uploads.removeAllContentTypeParsers();
    uploads.addContentTypeParser('*', (_request, _payload, done) => done(null));
    for (const bound of all) if (bound.endpoint.kind === 'upload') addRoute(uploads, bound, bound.endpoint.method);
  });
  addDocuments(app, options);
  app.server.on('upgrade', (request, socket, head) => sockets.upgrade(request, socket, head));
  app.server.maxConnections = limits.connections;
  // Clients open connections ahead of need. To Node these are not idle until a first request has come, and would hold up the end.
  const unused = new Set<Socket>();
  app.server.on(options.tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
    unused.add(socket);
    socket.once('close', () => unused.delete(socket));
  });
  for (const used of ['request', 'upgrade'] as const) app.server.on(used, ({ socket }: IncomingMessage) => unused.delete(socket));

  return {
    start: async ({ host, port }) => {
      boundToLoopback = isLoopbackHost(host);
      if (!boundToLoopback && options.tls === undefined) {
        throw new Failure('invalid_input', {
          message: `The API is not opened on ${host} without TLS: credentials would cross the network in the clear.`,
          hint: 'Bind it to 127.0.0.1, or give it a certificate.',
        });
      }
      try {
        await app.listen({ host, port });
      } catch (error) {
        throw listenFailure(error, host, port);
      }
      const address = app.server.address();
      const actual = typeof address === 'object' && address !== null ? address.port : port;
      const name = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
      return { host, port: actual, url: `${options.tls === undefined ? 'http' : 'https'}://${name}:${actual}` };
    },
    renew: (tls) => {
      if (app.server instanceof TlsServer) app.server.setSecureContext(secure(tls));
    },
    stop: async () => {
      stopping.abort(new Error('the server stops'));
      const cancel = clock.timer(limits.stopMs, () => app.server.closeAllConnections());
      for (const socket of unused) socket.destroy();
      await Promise.all([sockets.stop(), app.close()]);
      cancel();
    },
    inject: async (request) => await app.inject(request),
  };

  function addDocuments(target: FastifyInstance, from: ServerOptions<T>): void {
    target.get('/metrics', async (request, reply) => {
      const principal: Principal = await from.authenticate(request.headers.authorization);
      if (!principal.permissions.has('platform.read')) {
        throw new Failure('forbidden', { message: `${principal.name} has not the permission platform.read, which /metrics needs.` });
      }
      const text = (await from.metrics?.()) ?? '';
      return await reply.header('content-type', 'text/plain; version=0.0.4; charset=utf-8').send(text);
    });
    let document: string | null = null;
    target.get('/v1/openapi.json', async (_request, reply) => {
      if (document === null) {
        const [{ openapi }, { z }] = await Promise.all([import('../api/openapi.ts'), import('zod')]);
        document = JSON.stringify(openapi(from.table, z, { version: from.version }));
      }
      return await reply.header('content-type', 'application/json').send(document);
    });
  }
}

const secure = ({ key, cert, ca }: ServerTls): SecureContextOptions => ({ key, cert, ...(ca === undefined ? {} : { ca }) });

function transportOptions(tls: ServerTls | undefined, limits: ServerLimits): object {
  const common = {
    headersTimeout: limits.headersMs,
    connectionsCheckingInterval: Math.min(5000, limits.headersMs),
    // Other upgrades, such as curl's h2c, are served as plain requests.
    shouldUpgradeCallback: (request: IncomingMessage): boolean => request.headers.upgrade?.toLowerCase() === 'websocket',
  };
  if (tls === undefined) return { http: common };
  // People come without: what they may do their token says.
  const client = tls.ca === undefined ? {} : { requestCert: true, rejectUnauthorized: false };
  return { https: { ...common, ...secure(tls), ...client, minVersion: 'TLSv1.2' } };
}

/** What could not be read as HTTP at all, or not in time: one short problem, then the end of the connection. */
function answerBroken(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) return;
  const late = error.code === 'ERR_HTTP_REQUEST_TIMEOUT';
  const failure = new Failure(late ? 'timeout' : 'invalid_input', {
    message: late ? 'The headers of the request did not come in time.' : 'What was sent is not valid HTTP.',
  });
  const status = late ? 408 : error.code === 'HPE_HEADER_OVERFLOW' ? 431 : 400;
  const body = JSON.stringify(problemOf(failure, newId(), status));
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}`;
  socket.end(`${head}\r\nconnection: close\r\n\r\n${body}`);
}

function useJsonBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    try {
      done(null, parseJsonBody(typeof body === 'string' ? Buffer.from(body) : body));
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  });
}

function listenFailure(error: unknown, host: string, port: number): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  if (code === 'EADDRINUSE') {
    return new Failure('port_taken', {
      message: `Port ${port} of ${host}, for the API, is in use by another process.`,
      hint: 'Choose another one with --api-port (0 takes a free one).',
      details: { port, host },
      cause: error,
    });
  }
  if (code === 'EACCES' || code === 'EADDRNOTAVAIL') {
    return new Failure('invalid_input', {
      message: `The API cannot be opened on ${host}:${port}: ${code === 'EACCES' ? 'no permission' : 'no such address on this machine'}.`,
      hint: 'Choose others with --api-host and --api-port.',
      cause: error,
    });
  }
  return error;
}
