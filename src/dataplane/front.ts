// The side of the Edge that clients see: listening sockets and their connections. It can stop without anybody noticing: accepting ends,
// answers under way are finished with "Connection: close", and only then do connections end.

import net from 'node:net';
import type tls from 'node:tls';
import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import type { Trusted } from '../proxy/client-address.ts';
import { ACCEPTED, createReadingServer } from '../proxy/accept.ts';
import { createDeadlines } from '../proxy/deadlines.ts';
import type { Deadlines } from '../proxy/deadlines.ts';
import type { ClientConnection, ClientConnectionDeps } from '../proxy/client-connection.ts';
import { ServerConnection } from '../proxy/h1/server-connection.ts';
import { createHttpDate } from '../proxy/http-date.ts';
import type { ProxyLimits } from '../proxy/limits.ts';
import type { ClientStream, ConnectionFacts } from '../proxy/message.ts';
import type { Reader } from '../sys/reader.ts';
import { readBeginning } from '../proxy/read-beginning.ts';
import { lookForPreface } from '../proxy/read-preface.ts';
import { createProxyHeaderLook } from '../proxy/read-proxy-header.ts';
import type { Certificates } from './tls/certificates.ts';
import { createPenalties } from './penalties.ts';
import { lookForClientHello } from './tls/client-hello.ts';
import type { ClientHello } from './tls/client-hello.ts';
import type { OnDemand } from './tls/on-demand.ts';
import { createTlsServer } from './tls/listener.ts';
import type { TlsListenerOptions } from './tls/listener.ts';

/** An inherited descriptor of a listening socket, or an address to bind. */
export type ListenAddress = ({ readonly fd: number } | { readonly host: string; readonly port: number }) & {
  /** Clients speak TLS there. */
  readonly tls?: boolean;
  /** Other processes listen there too, and the kernel spreads connections over them. */
  readonly shared?: boolean;
};

/** A connection in its handshake. */
interface Shaking {
  readonly facts: ConnectionFacts;
  /** Of the certificates, when it began. */
  readonly askedChanges: number;
}

export interface Secure {
  readonly certificates: Certificates;
  readonly onDemand: OnDemand;
}

type CreateConnection = (socket: net.Socket, facts: ConnectionFacts) => ClientConnection;

export interface FrontOptions {
  readonly listen: readonly ListenAddress[];
  readonly limits: ProxyLimits;
  readonly deadlines: Deadlines;
  readonly clock: Clock;
  /** Proxies in front: many clients come from one of their addresses. */
  readonly trusted: Trusted;
  /** Whose connections begin with a PROXY protocol header, every one of them; all others begin with a request. */
  readonly proxied: Trusted;
  /** What https listeners show; absent: there are none. */
  readonly secure?: Secure;
  /** Plain listeners take HTTP/2 from clients that begin with it (RFC 9113 §3.3). */
  readonly h2c: boolean;
  readonly onExchange: (stream: ClientStream) => void;
  /** A message that is not HTTP, too large or too slow; the status that it got. */
  readonly onRefused: (status: number, why: string, address: string) => void;
}

export interface Front {
  start(): Promise<void>;
  addresses(): { readonly host: string; readonly port: number }[];
  connections(): number;
  /** Stops accepting; resolves when every connection has ended, at `drainMs` at the latest, when the rest is broken off. */
  stop(options: { readonly drainMs: number }): Promise<void>;
}

const DRAIN_TICK_MS = 100;
/** An unused connection is ended this long after its last answer while draining: clients that are active learn it by a header first. */
const DRAIN_IDLE_MS = 2_000;
const BACKLOG = 1_024;
const H2_TICK_MS = 200;
/** RFC 8737 §6.2. */
const ACME_TLS = 'acme-tls/1';

function secureOf({ secure }: FrontOptions): Secure {
  if (secure !== undefined) return secure;
  throw new Failure('internal', { message: 'An https listener without certificates.' });
}

export function createFront(options: FrontOptions): Front {
  const { limits, clock, deadlines } = options;
  const beginningOptions = { clock, timeoutMs: limits.headerTimeoutMs };
  /** With the bytes that had been read at the last look of a drain. */
  const connections = new Map<ClientConnection, number>();
  const perAddress = new Map<string, number>();
  const servers: net.Server[] = [];
  /** Their header has not come yet. */
  let beginning = 0;
  let draining = false;
  const penalties = createPenalties(clock);

  const deps: ClientConnectionDeps = {
    limits,
    deadlines,
    onExchange: options.onExchange,
    onRefused: options.onRefused,
    draining: () => draining,
    date: createHttpDate(clock),
  };

  const count = (address: string): void => void perAddress.set(address, (perAddress.get(address) ?? 0) + 1);
  const uncount = (address: string): void => {
    const left = (perAddress.get(address) ?? 1) - 1;
    if (left > 0) perAddress.set(address, left);
    else perAddress.delete(address);
  };
  /** Ends a connection for which there is no room, in all or from its address. */
  const isFull = (socket: net.Socket, address: string): boolean => {
    const tooMany = (perAddress.get(address) ?? 0) >= limits.connectionsPerAddress && !options.trusted.has(address);
    if (connections.size + beginning < limits.connections && !tooMany) return false;
    options.onRefused(503, 'too many connections', address);
    socket.destroy();
    return true;
  };

  const take = (socket: net.Socket, facts: ConnectionFacts, create: CreateConnection): void => {
    const { address } = facts;
    if (isFull(socket, address)) return;
    count(address);
    const connection = create(socket, facts);
    connections.set(connection, 0);
    socket.once('close', () => {
      connections.delete(connection);
      uncount(address);
    });
    if (draining) connection.goAway();
  };

  const createH1 = (socket: net.Socket, facts: ConnectionFacts, reader: Reader | null): ClientConnection => {
    const connection = new ServerConnection(socket, facts, deps, reader);
    // Whoever read its beginning has stopped it.
    socket.resume();
    return connection;
  };
  /** Null until the first client speaks HTTP/2: what it needs costs memory. */
  let createH2: CreateConnection | null = null;
  const takeH2 = async (socket: net.Socket, facts: ConnectionFacts): Promise<void> => {
    if (createH2 === null) {
      beginning += 1;
      const { ServerSession } = await import('../proxy/h2/server-session.ts');
      beginning -= 1;
      const h2 = { ...deps, ticks: createDeadlines(clock, H2_TICK_MS), onCostly: (address: string) => penalties.note(address) };
      createH2 = (made, its) => new ServerSession(made, its, h2);
    }
    if (!socket.destroyed) take(socket, facts, createH2);
  };
  const speak = (socket: net.Socket, facts: ConnectionFacts, protocol: string): void => {
    // The program's own module: that it cannot be loaded is said by the exception.
    if (protocol === 'h2') void takeH2(socket, facts);
    else take(socket, facts, (made, its) => createH1(made, its, null));
  };

  /** Takes a plain connection, whatever it speaks. */
  const takePlain = (socket: net.Socket, facts: ConnectionFacts): void => {
    if (!options.h2c) return speak(socket, facts, 'http/1.1');
    if (isFull(socket, facts.address)) return;
    beginning += 1;
    readBeginning(socket, beginningOptions, lookForPreface, (protocol) => {
      beginning -= 1;
      if (protocol === null) socket.destroy();
      else speak(socket, facts, protocol);
    });
  };

  /** Takes a connection after what its address has to wait. */
  const admit = (socket: net.Socket, facts: ConnectionFacts, onAdmitted: (facts: ConnectionFacts) => void): void => {
    const delayMs = options.trusted.has(facts.address) ? 0 : penalties.delayMs(facts.address);
    if (delayMs === 0) return onAdmitted(facts);
    if (isFull(socket, facts.address)) return;
    beginning += 1;
    socket.pause();
    const ignore = (): void => undefined;
    socket.on('error', ignore);
    clock.timer(delayMs, () => {
      beginning -= 1;
      socket.off('error', ignore);
      if (!socket.destroyed) onAdmitted(facts);
    });
  };

  /** Takes a connection when it is known whose it is. */
  const begin = (socket: net.Socket, facts: ConnectionFacts, onBegun: (facts: ConnectionFacts) => void): void => {
    if (!options.proxied.has(facts.address)) return onBegun(facts);
    if (isFull(socket, facts.address)) return;
    beginning += 1;
    readBeginning(socket, beginningOptions, createProxyHeaderLook(), (read) => {
      beginning -= 1;
      if (read !== null && read.header !== null) return onBegun({ ...facts, ...read.header.source });
      options.onRefused(400, read?.why ?? 'the connection ended before its header', facts.address);
      socket.destroy();
    });
  };

  /** Null: it has ended before it was looked at. */
  const factsOf = (socket: net.Socket): ConnectionFacts | null => {
    const { remoteAddress = '', remotePort = 0 } = socket;
    if (remoteAddress !== '') return { address: plainAddress(remoteAddress), port: remotePort, scheme: 'http', tls: null };
    socket.destroy();
    return null;
  };

  const createServer = (onAccepted: (socket: net.Socket, facts: ConnectionFacts) => void): net.Server =>
    net.createServer(ACCEPTED, (socket) => {
      const facts = factsOf(socket);
      if (facts !== null) begin(socket, facts, (known) => admit(socket, known, (admitted) => onAccepted(socket, admitted)));
    });

  const createPlainServer = (): net.Server => {
    // Only who reads all of a connection can be given what comes on it.
    if (options.h2c || !options.proxied.isEmpty) return createServer(takePlain);
    return createReadingServer((socket, reader) => {
      const facts = factsOf(socket);
      if (facts !== null) admit(socket, facts, (admitted) => take(socket, admitted, (made, its) => createH1(made, its, reader)));
    });
  };

  /** TLS begins behind the header of a balancer, so it is laid over connections that were accepted plainly. */
  const createSecureServer = ({ certificates, onDemand }: Secure): net.Server => {
    /** Whose the connections are that are in their handshake, by the peer's port and address. */
    const shaking = new Map<string, Shaking>();
    const peerOf = (socket: net.Socket): string => `${socket.remotePort ?? 0} ${socket.remoteAddress ?? ''}`;
    /** Its facts, once: from then on it counts as what it has become, or not at all. */
    const leave = (peer: string): Shaking | null => {
      const shake = shaking.get(peer) ?? null;
      if (shake === null) return null;
      shaking.delete(peer);
      beginning -= 1;
      uncount(shake.facts.address);
      return shake;
    };
    const common: Omit<TlsListenerOptions, 'contextFor' | 'onConnection'> = {
      protocols: ['h2', 'http/1.1'],
      timeoutMs: limits.headerTimeoutMs,
      onRefused: (why, socket) =>
        options.onRefused(400, `TLS: ${why}`, shaking.get(peerOf(socket))?.facts.address ?? plainAddress(socket.remoteAddress ?? '')),
    };
    const onConnection: TlsListenerOptions['onConnection'] = (socket, facts, protocol) => {
      const shake = leave(peerOf(socket));
      if (shake === null) return void socket.destroy();
      // What it was verified by may have been what was asked before.
      const tlsFacts = shake.askedChanges === certificates.askedChanges ? facts : { ...facts, asked: null, client: null };
      speak(socket, { ...shake.facts, scheme: 'https', tls: tlsFacts }, protocol);
    };
    const ordinary = { ...common, contextFor: (name: string) => certificates.contextFor(name), onConnection };
    const usual = createTlsServer(ordinary);
    certificates.onTicketKey((key) => usual.setTicketKeys(key));
    // Whom to ask for a certificate, and what to show to an ACME authority, is set for a server as a whole.
    let asking: tls.Server | null = null;
    let proving: tls.Server | null = null;
    const serverFor = (hello: ClientHello | null): tls.Server => {
      if (hello === null) return usual;
      const { serverName, protocols } = hello;
      if (protocols.includes(ACME_TLS)) {
        // The handshake is all that the authority wants to see (RFC 8737 §3).
        proving ??= createTlsServer({
          ...common,
          protocols: [ACME_TLS],
          contextFor: (name) => certificates.challengeFor(name),
          onConnection: (socket) => socket.destroy(),
        });
        return proving;
      }
      if (serverName === null || certificates.askedFor(serverName) === null) return usual;
      asking ??= createTlsServer({ ...ordinary, askedFor: (name) => certificates.askedFor(name) });
      return asking;
    };
    return createServer((socket, facts) => {
      if (isFull(socket, facts.address)) return;
      const peer = peerOf(socket);
      beginning += 1;
      count(facts.address);
      shaking.set(peer, { facts, askedChanges: certificates.askedChanges });
      socket.once('close', () => leave(peer));
      // A server reads what was put back by itself; a socket that flows would have lost that by then.
      if (!certificates.choosy && !onDemand.inUse) return void usual.emit('connection', socket);
      readBeginning(socket, beginningOptions, lookForClientHello, (read) => {
        if (read === null) return void socket.destroy();
        const { hello } = read;
        const serverName = hello === null || hello.protocols.includes(ACME_TLS) ? null : hello.serverName;
        const certificate = serverName === null ? null : onDemand.wait(serverName);
        if (certificate === null) return void serverFor(hello).emit('connection', socket);
        const ignore = (): void => undefined;
        socket.on('error', ignore);
        void certificate.then(() => {
          socket.off('error', ignore);
          if (!socket.destroyed) serverFor(hello).emit('connection', socket);
        });
      });
    });
  };

  const listen = (server: net.Server, address: ListenAddress): Promise<void> =>
    new Promise((resolve, reject) => {
      const onError = (error: Error): void => {
        const where = 'fd' in address ? `descriptor ${address.fd}` : `${address.host}:${address.port}`;
        const taken = 'code' in error && error.code === 'EADDRINUSE';
        reject(
          new Failure(taken ? 'port_taken' : 'unavailable', {
            message: `Nobody can listen on ${where}: ${error.message}.`,
            cause: error,
          }),
        );
      };
      server.once('error', onError);
      server.listen(
        'fd' in address
          ? { fd: address.fd }
          : { host: address.host, port: address.port, backlog: BACKLOG, reusePort: address.shared === true },
        () => {
          server.off('error', onError);
          resolve();
        },
      );
    });

  /** Ends connections that nobody uses; true when none is left. */
  const sweep = (): boolean => {
    const now = clock.monotonic();
    for (const [connection, bytesBefore] of connections) {
      if (!connection.idle) continue;
      const { bytesRead } = connection.socket;
      if (bytesRead !== bytesBefore) connections.set(connection, bytesRead);
      else if (now - connection.idleSinceMs >= DRAIN_IDLE_MS) connection.leave();
    }
    return connections.size === 0;
  };

  return {
    start: async () => {
      for (const address of options.listen) {
        const server = address.tls === true ? createSecureServer(secureOf(options)) : createPlainServer();
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
      for (const connection of connections.keys()) connection.goAway();
      const endMs = clock.monotonic() + drainMs;
      // Ends the listening; connections go on.
      for (const server of servers) if (server.listening) server.close();
      while ((!sweep() || beginning > 0) && clock.monotonic() < endMs) await clock.sleep(DRAIN_TICK_MS);
      for (const connection of connections.keys()) connection.socket.destroy();
    },
  };
}

/** An IPv4 address that came in on an IPv6 socket, as IPv4. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}
