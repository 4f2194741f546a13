// Listening sockets that outlive the programs that accept on them: while one restarts, connections wait in the kernel's queue.
// A port that somebody else holds is found before binding, because SO_REUSEPORT would silently share it.

import net from 'node:net';
import { getSystemErrorName } from 'node:util';
import { Failure } from '../lib/failure.ts';
import type { ListenRequest } from '../sys/keeper-protocol.ts';
import { describeListener } from '../sys/listeners.ts';

/** What libuv's TCP handle offers to us. Private API of Node, pinned by listeners.test.ts. */
interface TcpHandle {
  readonly fd: number;
  getsockname(out: { port?: number }): number;
  close(): void;
}

export interface HeldListener {
  readonly name: string;
  readonly host: string;
  readonly port: number;
}

export interface Listeners {
  listen(request: ListenRequest): Promise<{ readonly port: number }>;
  unlisten(name: string): void;
  /** Descriptors in the order of the names; throws `not_found` for a name that is not held. */
  descriptors(names: readonly string[]): number[];
  list(): HeldListener[];
}

// uv.h: UV_TCP_IPV6ONLY = 1, UV_TCP_REUSEPORT = 2.
const REUSE_PORT = 2;
const MAX_LISTENERS = 64;

function isTcpHandle(value: unknown): value is TcpHandle {
  return typeof value === 'object' && value !== null && 'fd' in value && typeof value.fd === 'number' && value.fd >= 0 && 'close' in value;
}

/** A bound, not yet listening socket: the first program that gets it makes it listen. Throws with an errno `code`. */
export function bindSocket(host: string, port: number, flags: number): { readonly handle: TcpHandle; readonly port: number } {
  const create: unknown = Reflect.get(net, '_createServerHandle');
  if (typeof create !== 'function') throw new Failure('unsupported', { message: 'This Node cannot hold listening sockets for others.' });
  const result: unknown = create(host, port, net.isIPv6(host) ? 6 : 4, undefined, flags);
  if (!isTcpHandle(result)) throw bindError(host, port, typeof result === 'number' ? getSystemErrorName(result) : 'UNKNOWN');
  const address: { port?: number } = {};
  result.getsockname(address);
  if (address.port !== undefined && address.port > 0) return { handle: result, port: address.port };
  // libuv keeps EADDRINUSE back until somebody listens; the socket is not bound.
  result.close();
  throw bindError(host, port, 'EADDRINUSE');
}

function bindError(host: string, port: number, code: string): Error {
  return Object.assign(new Error(`bind ${code} ${host}:${port}`), { code });
}

/** Resolves when a plain bind and listen works, so that nobody else holds the port. */
function probe(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', (error) => resolve('code' in error && typeof error.code === 'string' ? error.code : 'UNKNOWN'));
    server.listen({ host, port, exclusive: true }, () => {
      server.close(() => resolve(null));
    });
  });
}

function bindFailure(request: ListenRequest, code: string, cause?: unknown): Failure {
  const place = `${request.host}:${request.port}`;
  if (code === 'EADDRINUSE') {
    const holder = describeListener(request.port);
    return new Failure('port_taken', {
      message: `${place} is in use by ${holder?.text ?? 'another process (which one is not visible to this user)'}.`,
      details: { host: request.host, port: request.port, pid: holder?.pid ?? null, name: holder?.name ?? null },
      cause,
    });
  }
  const why = code === 'EACCES' ? 'this user may not listen on it' : code === 'EADDRNOTAVAIL' ? 'this machine has no such address' : code;
  return new Failure('start_failed', { message: `Cannot listen on ${place}: ${why}.`, details: { errno: code }, cause });
}

export function createListeners(): Listeners {
  const held = new Map<string, HeldListener & { readonly handle: TcpHandle }>();

  const listen = async (request: ListenRequest): Promise<{ port: number }> => {
    const known = held.get(request.name);
    if (known !== undefined) {
      if (known.host === request.host && (request.port === 0 || known.port === request.port)) return { port: known.port };
      throw new Failure('exists', { message: `The listener “${request.name}” is held on ${known.host}:${known.port} already.` });
    }
    if (held.size >= MAX_LISTENERS) throw new Failure('rate_limited', { message: `The keeper holds ${MAX_LISTENERS} listeners already.` });
    if (net.isIP(request.host) === 0) throw new Failure('invalid_input', { message: `“${request.host}” is not an IP address.` });
    if (request.port !== 0 && !request.takeover) {
      const code = await probe(request.host, request.port);
      if (code !== null) throw bindFailure(request, code);
    }
    let bound: ReturnType<typeof bindSocket>;
    try {
      bound = bindSocket(request.host, request.port, REUSE_PORT);
    } catch (error) {
      throw bindFailure(request, error instanceof Error && 'code' in error ? String(error.code) : 'UNKNOWN', error);
    }
    // Another request for the name may have been answered while we probed.
    const raced = held.get(request.name);
    if (raced !== undefined) {
      bound.handle.close();
      return { port: raced.port };
    }
    const { handle, port } = bound;
    held.set(request.name, { name: request.name, host: request.host, port, handle });
    return { port };
  };

  return {
    listen,
    unlisten: (name) => {
      held.get(name)?.handle.close();
      held.delete(name);
    },
    descriptors: (names) =>
      names.map((name) => {
        const listener = held.get(name);
        if (listener === undefined) throw new Failure('not_found', { message: `The keeper holds no listener “${name}”.` });
        return listener.handle.fd;
      }),
    list: () => [...held.values()].map(({ name, host, port }) => ({ name, host, port })),
  };
}
