// WebSocket endpoints: the whole choke point runs before the upgrade, and what fails there is answered as a plain HTTP problem.

import { STATUS_CODES } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { WebSocket, WebSocketServer } from 'ws';
import type { Clock } from '../lib/clock.ts';
import { Failure, toFailure } from '../lib/failure.ts';
import type { Log } from '../sys/log.ts';
import type { ForwardTo } from './leadership/forward.ts';
import { headMsOf, vouchFor } from './server-hand-on.ts';
import type { HandOn } from './server-hand-on.ts';
import { parseQueryString } from './server-http.ts';
import type { AuditEntry, ServerLimits } from './server-http.ts';
import { identify, prepare, requirePermission } from './server-pipeline.ts';
import type { Gate } from './server-pipeline.ts';
import { problemReply } from './server-problem.ts';
import { matchPath, unknownRoute } from './server-routes.ts';
import type { AnyCall, Bound } from './server-bind.ts';
import type { HeaderBag } from './server-guard.ts';

export interface SocketDeps {
  readonly all: readonly Bound[];
  readonly gate: Gate;
  readonly guard: (method: string, headers: HeaderBag) => void;
  readonly requestId: (headers: HeaderBag) => string;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: ServerLimits;
  readonly audit: (entry: AuditEntry) => void;
  /** null: there is no other control plane. */
  readonly handOn: HandOn | null;
}

/** What an upgrade comes to: a handler of this control plane, or the one that leads. */
type Admitted = { readonly bound: Bound; readonly call: AnyCall } | Omit<ForwardTo, 'requestId'>;

export interface Sockets {
  /** Takes an upgrade request; never throws. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Ends all, saying that the server restarts; resolves when every handler has returned. */
  stop(): Promise<void>;
}

const PING_MS = 30_000;
const CLOSE_GRACE_MS = 2000;

export function createSockets(deps: SocketDeps): Sockets {
  const stopping = new AbortController();
  const open = new Set<Promise<void>>();
  let wsServer: WebSocketServer | null = null;

  const loadServer = async (): Promise<WebSocketServer> => {
    if (wsServer === null) {
      const { WebSocketServer: Server } = await import('ws');
      wsServer ??= new Server({
        noServer: true,
        perMessageDeflate: false,
        maxPayload: deps.limits.socketFrameBytes,
        clientTracking: false,
      });
    }
    return wsServer;
  };

  const admit = async (request: IncomingMessage, requestId: string, ended: AbortController): Promise<Admitted> => {
    deps.guard('GET', request.headers);
    const target = request.url ?? '/';
    const mark = target.indexOf('?');
    const path = mark === -1 ? target : target.slice(0, mark);
    for (const bound of deps.all) {
      const params = bound.endpoint.kind === 'socket' ? matchPath(bound.endpoint.path, path) : null;
      if (params === null) continue;
      if (open.size > deps.limits.sockets) {
        throw new Failure('rate_limited', { message: `More than ${deps.limits.sockets} sockets are open.` });
      }
      const leader = deps.handOn?.leaderFor(bound, request.headers) ?? null;
      if (leader !== null && deps.handOn !== null) {
        const headers = vouchFor(deps.handOn, bound, request);
        return { leader, headMs: headMsOf(bound.endpoint, deps.limits), headers };
      }
      const principal = await identify(deps.gate, bound, request);
      requirePermission(bound, principal);
      const query = parseQueryString(mark === -1 ? '' : target.slice(mark + 1));
      const call = await prepare(deps.gate, bound, { params, query, body: undefined, principal, requestId, signal: ended.signal });
      await bound.handler.check?.(call);
      return { bound, call };
    }
    throw unknownRoute(deps.all, 'an upgrade', path);
  };

  const handle = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    const requestId = deps.requestId(request.headers);
    const ended = new AbortController();
    const onStop = (): void => ended.abort(stopping.signal.reason);
    stopping.signal.addEventListener('abort', onStop, { once: true });
    const onGone = (): void => ended.abort(new Error('the client has gone'));
    socket.on('error', onGone);
    socket.once('close', onGone);
    try {
      const admitted = await admit(request, requestId, ended);
      if ('leader' in admitted) {
        // Ends with this server too.
        ended.signal.addEventListener('abort', () => socket.destroy(), { once: true });
        await deps.handOn?.forward.upgrade(request, socket, head, { ...admitted, requestId });
        return;
      }
      const { bound, call } = admitted;
      const server = await loadServer();
      if (socket.destroyed || stopping.signal.aborted) {
        socket.destroy();
        return;
      }
      await new Promise<void>((resolve) => {
        socket.once('close', resolve); // where the upgrade itself fails
        // The handler is called in the same turn: frames that came with the request find its listeners.
        server.handleUpgrade(request, socket, head, (ws) => {
          socket.off('close', resolve);
          resolve(serve(ws, bound, call, ended, deps, stopping.signal));
        });
      });
    } catch (error) {
      if (!socket.destroyed) refuse(socket, error, requestId, deps.log);
    } finally {
      stopping.signal.removeEventListener('abort', onStop);
    }
  };

  return {
    upgrade: (request, socket, head) => {
      const done: Promise<void> = handle(request, socket, head).finally(() => open.delete(done));
      open.add(done);
    },
    stop: async () => {
      stopping.abort(new Error('the server stops'));
      await Promise.all(open);
    },
  };
}

async function serve(
  ws: WebSocket,
  bound: Bound,
  call: AnyCall,
  ended: AbortController,
  deps: SocketDeps,
  stopping: AbortSignal,
): Promise<void> {
  const beganMs = deps.clock.monotonic();
  const closed = new Promise<void>((resolve) => {
    ws.once('close', () => {
      ended.abort(new Error('the client has gone'));
      resolve();
    });
  });
  ws.on('error', (error) => deps.log.debug({ requestId: call.requestId, error }, 'socket failed'));
  let alive = true;
  ws.on('pong', () => {
    alive = true;
  });
  const beat = (): void => {
    if (!alive) {
      ws.terminate();
      return;
    }
    alive = false;
    ws.ping();
    cancelBeat = deps.clock.timer(PING_MS, beat);
  };
  let cancelBeat = deps.clock.timer(PING_MS, beat);
  const onStop = (): void => ws.close(1012, 'the server restarts');
  stopping.addEventListener('abort', onStop, { once: true });
  let failure: Failure | null = null;
  try {
    // A handler that does not notice the end of its socket holds nothing up.
    const over = closed.then(() => deps.clock.sleep(CLOSE_GRACE_MS));
    await Promise.race([bound.handler(call, ws), over]);
    ws.close(1000);
  } catch (error) {
    failure = toFailure(error);
    if (failure.code === 'internal') deps.log.error({ requestId: call.requestId, error: failure.cause ?? failure }, failure.message);
    // A close reason holds 123 bytes.
    ws.close(
      1011,
      Buffer.from(`${failure.code}: ${failure.message}`)
        .subarray(0, 120)
        .toString()
        .replace(/\uFFFD$/u, ''),
    );
  }
  const cancelGrace = deps.clock.timer(CLOSE_GRACE_MS, () => ws.terminate());
  await closed;
  cancelGrace();
  cancelBeat();
  stopping.removeEventListener('abort', onStop);
  if (bound.endpoint.internal) return;
  deps.audit({
    atMs: deps.clock.now(),
    requestId: call.requestId,
    principal: call.principal,
    endpoint: bound.name,
    method: 'GET',
    params: call.params as Readonly<Record<string, string>>, // as checked by prepare
    status: 101,
    code: failure?.code ?? null,
    durationMs: deps.clock.monotonic() - beganMs,
  });
}

function refuse(socket: Duplex, error: unknown, requestId: string, log: Log): void {
  const { status, headers, problem } = problemReply(error, requestId, log);
  const body = JSON.stringify(problem);
  const lines = Object.entries({
    ...headers,
    'content-length': String(Buffer.byteLength(body)),
    'x-request-id': requestId,
    connection: 'close',
  });
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${body}`,
  );
}
