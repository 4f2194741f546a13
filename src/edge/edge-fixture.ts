// An Edge on a free port with a control that the test speaks for, and real servers as Instances. For tests alone.

import { mkdtemp, rm } from 'node:fs/promises';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import type { EdgeReport, RouteGroup, RouteRule, RouteTable, RouteTarget, TableMessage, TapBatch } from '../api/dataplane.ts';
import { systemClock } from '../lib/clock.ts';
import { readJsonFile } from '../sys/durable-file.ts';
import { silentLog } from '../sys/log.ts';
import { createCore } from '../dataplane/core.ts';
import type { CoreOptions } from '../dataplane/core.ts';
import { createEdge } from './edge.ts';
import type { Edge, EdgeOptions } from './edge.ts';
import type { EdgeLink } from '../dataplane/link.ts';

/** Resolves when the condition holds; fails after `deadlineMs`. */
export async function until(what: string, condition: () => boolean, deadlineMs = 5_000): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  while (!condition()) {
    if (performance.now() > endMs) throw new Error(`waited ${deadlineMs} ms in vain until ${what}`);
    await systemClock.sleep(5);
  }
}

export interface ScriptedLink extends EdgeLink {
  push(message: TableMessage): void;
  /** Breaks the connection; the Edge connects again and gets what is pushed then. */
  disconnect(): void;
  readonly reports: EdgeReport[];
  readonly told: Omit<TapBatch, 'edgeId'>[];
  connections(): number;
}

export function createScriptedLink(): ScriptedLink {
  const reports: EdgeReport[] = [];
  const told: Omit<TapBatch, 'edgeId'>[] = [];
  let queue: TableMessage[] = [];
  let wake = (): void => undefined;
  let generation = 0;
  let connections = 0;
  return {
    reports,
    told,
    tell: (batch) => {
      told.push(batch);
      return Promise.resolve(true);
    },
    connections: () => connections,
    push: (message) => {
      queue.push(message);
      wake();
    },
    disconnect: () => {
      generation += 1;
      queue = [];
      wake();
    },
    sync: async function* (signal) {
      connections += 1;
      const mine = generation;
      signal.addEventListener('abort', () => wake(), { once: true });
      const current = (): boolean => !signal.aborted && mine === generation;
      while (current()) {
        const message = queue.shift();
        if (message !== undefined) {
          yield message;
          continue;
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
    report: (report) => {
      reports.push(report);
      return Promise.resolve();
    },
  };
}

export interface TestInstance {
  readonly target: RouteTarget;
  readonly server: http.Server;
  readonly port: number;
  /** As a well-behaved server ends on SIGTERM. */
  close(): Promise<void>;
  /** As a killed process: everything is reset. */
  kill(): Promise<void>;
}

/** A real HTTP server; `port` 0 takes a free one. */
export async function startInstance(id: string, listener: RequestListener, port = 0): Promise<TestInstance> {
  const server = http.createServer(listener);
  const sockets = new Set<net.Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const closed = (): Promise<void> => new Promise((resolve) => void (server.listening ? server.close(() => resolve()) : resolve()));
  return {
    server,
    port: address.port,
    target: {
      instanceId: id,
      deploymentId: 'd1',
      nodeId: 'n1',
      host: '127.0.0.1',
      port: address.port,
      state: 'active',
      drainUntilMs: null,
    },
    close: closed,
    kill: async () => {
      const done = closed();
      for (const socket of sockets) socket.resetAndDestroy();
      await done;
    },
  };
}

export function group(id: string, targets: readonly RouteTarget[], state: RouteGroup['state'] = 'serving'): RouteGroup {
  return { id, app: id, environment: 'production', entrypoint: 'web', state, targets };
}

/** A target on this machine that takes requests. */
export function target(id: string, port: number): RouteTarget {
  return { instanceId: id, deploymentId: 'd', nodeId: 'n', host: '127.0.0.1', port, state: 'active', drainUntilMs: null };
}

export function rule(host: string, groupId: string, path = '/', headers: Readonly<Record<string, string>> = {}): RouteRule {
  return { host, path, headers, group: groupId };
}

export interface TestEdge {
  readonly edge: Edge;
  readonly link: ScriptedLink;
  readonly port: number;
  readonly tableFile: string;
  /** Sequence of the table on disk; null where there is none. */
  savedSequence(): number | null;
  /** Sends a snapshot and waits until it is in force. */
  install(table: RouteTable): Promise<void>;
  /** Changes rules by a delta and waits until it is in force. */
  change(putRules: readonly RouteRule[], removeRules: readonly string[]): Promise<void>;
  /** Changes groups by a delta and waits until it is in force. */
  put(...groups: RouteGroup[]): Promise<void>;
  stop(): Promise<void>;
}

export async function startEdge(options: Partial<EdgeOptions & CoreOptions> = {}): Promise<TestEdge> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-edge-'));
  const link = createScriptedLink();
  const edge = createWholeEdge({
    edgeId: 'edge-1',
    version: 'test',
    listen: [{ host: '127.0.0.1', port: 0 }],
    link,
    tableFile: join(folder, 'table.json'),
    accessLog: null,
    clock: systemClock,
    log: silentLog,
    ...options,
  });
  await edge.start();
  let sequence = edge.table()?.sequence ?? 0;
  const send = async (message: TableMessage): Promise<void> => {
    link.push(message);
    await until('the table is in force', () => edge.table()?.sequence === sequence);
  };
  return {
    edge,
    link,
    tableFile: options.tableFile ?? join(folder, 'table.json'),
    savedSequence: () => {
      const saved = readJsonFile(options.tableFile ?? join(folder, 'table.json'));
      return typeof saved === 'object' && saved !== null && 'sequence' in saved && typeof saved.sequence === 'number'
        ? saved.sequence
        : null;
    },
    port: edge.addresses()[0]?.port ?? 0,
    install: (table) => {
      sequence += 1;
      return send({ type: 'snapshot', sequence, table });
    },
    change: (putRules, removeRules) => {
      sequence += 1;
      return send({ type: 'delta', sequence, putRules, removeRules, putGroups: [], removeGroups: [] });
    },
    put: (...putGroups) => {
      sequence += 1;
      return send({ type: 'delta', sequence, putGroups, removeGroups: [] });
    },
    stop: async () => {
      await edge.stop({ drainMs: 0 });
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export interface Reply {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
  readonly trailers: NodeJS.Dict<string>;
  readonly reused: boolean;
}

export interface CallOptions extends Omit<http.RequestOptions, 'headers'> {
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
  /** The port speaks TLS. */
  readonly tls?: tls.ConnectionOptions;
  /** Called when the request was given a connection that had carried another. */
  readonly onReused?: () => void;
}

/** One request through the Edge; `host` is the Host header. */
export function call(port: number, host: string, path: string, options: CallOptions = {}): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const { body, headers, onReused, tls: secure, ...rest } = options;
    const how = { host: '127.0.0.1', port, path, agent: false, ...rest, headers: { host, ...headers } };
    const request = secure === undefined ? http.request(how) : https.request({ servername: host, ...secure, ...how });
    request.on('error', reject);
    request.on('socket', () => {
      if (request.reusedSocket) onReused?.();
    });
    request.on('response', (response) => {
      read(response).then(
        (bytes) =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: bytes,
            trailers: response.trailers,
            reused: request.reusedSocket,
          }),
        reject,
      );
    });
    request.end(body);
  });
}

/** Over a TLS connection of its own: what a later one may resume it by, and whether it was resumed itself. */
export async function tlsSession(
  port: number,
  options: tls.ConnectionOptions,
): Promise<{ readonly session: Buffer | undefined; readonly reused: boolean }> {
  const socket = tls.connect({ host: '127.0.0.1', port, ...options });
  let session: Buffer | undefined;
  socket.on('session', (its) => (session = its));
  await once(socket, 'secureConnect');
  const reused = socket.isSessionReused();
  // With TLS 1.3 the ticket comes behind the handshake: by the answer it is there.
  socket.write(`GET / HTTP/1.1\r\nHost: ${options.servername ?? ''}\r\nConnection: close\r\n\r\n`);
  socket.resume();
  await once(socket, 'close');
  return { session, reused };
}

export async function read(message: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of message) parts.push(part as Buffer); // a stream without an encoding gives buffers
  return Buffer.concat(parts);
}

export function text(response: ServerResponse, body: string, status = 200): void {
  response.writeHead(status, { 'content-type': 'text/plain', 'content-length': Buffer.byteLength(body) });
  response.end(body);
}

/** An Edge with a core of its own. */
function createWholeEdge(options: EdgeOptions & CoreOptions): Edge {
  const core = createCore(options);
  const edge = createEdge(options, core);
  return {
    ...edge,
    start: async () => {
      await core.start();
      await edge.start();
    },
    stop: async (asked) => {
      await edge.stop(asked);
      await core.stop();
    },
  };
}
