// The side of the Edge that clients see: listening sockets and their connections. It can stop without anybody noticing: accepting ends,
// answers under way are finished with "Connection: close", and only then do connections end.

import http from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import type { ProxyLimits } from '../proxy/limits.ts';
import { upgradeOf } from '../proxy/upgrade.ts';

/** An inherited descriptor of a listening socket, or an address to bind. */
export type ListenAddress = { readonly fd: number } | { readonly host: string; readonly port: number };

export interface FrontOptions {
  readonly listen: readonly ListenAddress[];
  readonly limits: ProxyLimits;
  readonly clock: Clock;
  readonly onRequest: (request: IncomingMessage, response: ServerResponse) => void;
  readonly onUpgrade: (request: IncomingMessage, response: ServerResponse, head: Buffer) => void;
  /** A message that is not HTTP, too large or too slow; the status that it got. */
  readonly onRefused: (status: number) => void;
}

export interface Front {
  start(): Promise<void>;
  addresses(): { readonly host: string; readonly port: number }[];
  connections(): number;
  /** Stops accepting; resolves when every connection has ended, at `drainMs` at the latest, when the rest is broken off. */
  stop(options: { readonly drainMs: number }): Promise<void>;
}

interface ConnectionState {
  readonly responses: Set<ServerResponse>;
  upgraded: boolean;
  /** Monotonic; of the last end of an answer, or of the accept. */
  idleSinceMs: number;
  bytesRead: number;
}

const DRAIN_TICK_MS = 100;
/** An unused connection is ended this long after its last answer while draining: clients that are active learn it by a header first. */
const DRAIN_IDLE_MS = 2_000;

export function createFront(options: FrontOptions): Front {
  const { limits, clock } = options;
  const connections = new Map<Duplex, ConnectionState>();
  const servers: http.Server[] = [];
  let draining = false;

  const track = (request: IncomingMessage, response: ServerResponse): void => {
    if (draining) response.shouldKeepAlive = false;
    const state = connections.get(request.socket);
    if (state === undefined) return;
    state.responses.add(response);
    response.once('close', () => {
      state.responses.delete(response);
      state.idleSinceMs = clock.monotonic();
    });
  };
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    track(request, response);
    options.onRequest(request, response);
  };
  const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const state = connections.get(socket);
    if (state !== undefined) state.upgraded = true;
    socket.on('error', () => undefined);
    if (upgradeOf(request) === null) {
      socket.end(plainAnswer(501, 'Not Implemented'));
      return;
    }
    const response = new http.ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(request.socket);
    response.once('finish', () => socket.end());
    options.onUpgrade(request, response, head);
  };
  const onClientError = (error: Error & { readonly code?: string }, socket: Duplex): void => {
    const state = connections.get(socket);
    const status = statusOfClientError(error.code);
    if (status !== null) options.onRefused(status);
    // In the middle of an answer nothing can be said any more.
    const silent = status === null || !socket.writable || [...(state?.responses ?? [])].some((response) => response.headersSent);
    if (silent) socket.destroy();
    else socket.end(plainAnswer(status, http.STATUS_CODES[status] ?? ''), () => socket.destroy());
  };

  const createServer = (): http.Server => {
    const settings: http.ServerOptions = {
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.headerTimeoutMs,
      // Bodies have an idle limit of their own; a long upload is not an attack.
      requestTimeout: 0,
      connectionsCheckingInterval: 1_000,
      keepAliveTimeout: limits.clientIdleMs,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
      requireHostHeader: true,
    };
    // Asks to become anything else than a WebSocket are ignored, as RFC 9110 §7.8 allows.
    const server = http.createServer({ ...settings, shouldUpgradeCallback: (request: IncomingMessage) => upgradeOf(request) !== null });
    // Headers are bounded by their size; a bound on their number would drop the rest silently.
    server.maxHeadersCount = 0;
    server.maxConnections = limits.connections;
    server.on('request', onRequest);
    server.on('checkContinue', onRequest);
    server.on('upgrade', onUpgrade);
    server.on('clientError', onClientError);
    server.on('connection', (socket: net.Socket) => {
      connections.set(socket, { responses: new Set(), upgraded: false, idleSinceMs: clock.monotonic(), bytesRead: 0 });
      socket.on('close', () => connections.delete(socket));
    });
    return server;
  };

  const listen = (server: http.Server, address: ListenAddress): Promise<void> =>
    new Promise((resolve, reject) => {
      const onError = (error: Error): void => {
        const where = 'fd' in address ? `descriptor ${address.fd}` : `${address.host}:${address.port}`;
        const taken = 'code' in error && error.code === 'EADDRINUSE';
        reject(
          new Failure(taken ? 'port_taken' : 'unavailable', {
            message: `The Edge cannot listen on ${where}: ${error.message}.`,
            cause: error,
          }),
        );
      };
      server.once('error', onError);
      server.listen('fd' in address ? { fd: address.fd } : { host: address.host, port: address.port, backlog: 1024 }, () => {
        server.off('error', onError);
        resolve();
      });
    });

  /** Ends connections that nobody uses; true when none is left. */
  const sweep = (): boolean => {
    const now = clock.monotonic();
    for (const [socket, state] of connections) {
      if (state.upgraded || state.responses.size > 0) continue;
      const bytesRead = socket instanceof net.Socket ? socket.bytesRead : 0;
      if (bytesRead !== state.bytesRead) {
        state.bytesRead = bytesRead;
        state.idleSinceMs = now;
      } else if (now - state.idleSinceMs >= DRAIN_IDLE_MS) socket.destroy();
    }
    return connections.size === 0;
  };

  return {
    start: async () => {
      for (const address of options.listen) {
        const server = createServer();
        servers.push(server);
        await listen(server, address);
      }
    },
    addresses: () =>
      servers.flatMap((server) => {
        const address = server.address();
        return address === null || typeof address === 'string' ? [] : [{ host: address.address, port: address.port }];
      }),
    connections: () => connections.size,
    stop: async ({ drainMs }) => {
      draining = true;
      const endMs = clock.monotonic() + drainMs;
      // http.Server.close() would break off connections that were accepted this moment; only the listening shall end.
      for (const server of servers) if (server.listening) net.Server.prototype.close.call(server);
      for (const state of connections.values()) {
        for (const response of state.responses) if (!response.headersSent) response.shouldKeepAlive = false;
      }
      while (!sweep() && clock.monotonic() < endMs) await clock.sleep(DRAIN_TICK_MS);
      for (const socket of connections.keys()) socket.destroy();
      for (const server of servers) server.closeAllConnections();
    },
  };
}

/** Null: the connection is gone. Codes of Node's parser and timers; anything else is a message that makes no sense. */
const CLIENT_ERRORS: Readonly<Record<string, number | null>> = {
  ECONNRESET: null,
  EPIPE: null,
  HPE_HEADER_OVERFLOW: 431,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

function statusOfClientError(code: string | undefined): number | null {
  const known = CLIENT_ERRORS[code ?? ''];
  return known === undefined ? 400 : known;
}

function plainAnswer(status: number, reason: string): string {
  const body = `${status} ${reason}\n`;
  return `HTTP/1.1 ${status} ${reason}\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`;
}
