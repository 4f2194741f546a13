// The data port of a Node: Instances listen on loopback, and machines elsewhere reach them through this one port. It lets in only
// machines that the cluster's authority has signed as Edges or Nodes and that are still part of the cluster, and joins them only to Instances
// that the Node says it runs: an address never comes from outside. Connections, and how long they take to begin, are bounded.

import net from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import tls from 'node:tls';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/failure.ts';
import type { Log } from '../sys/log.ts';
import { machineIdOf } from './identity.ts';
import type { MachineIdentity } from './identity.ts';
import { createLineReader, parsePreface, PROTOCOL, replyLine } from './preface.ts';
import type { Preface, Refusal } from './preface.ts';
import { onreadOf } from '../sys/reader.ts';
import type { Reader } from '../sys/reader.ts';
import { resetSocket } from '../sys/reset-socket.ts';
import { splice } from './splice.ts';

export type Resolved =
  | { readonly host: string; readonly port: number }
  | Extract<Refusal, 'unknown_instance' | 'stale_generation' | 'not_running'>;

export interface DataPortLimits {
  /** Open at the same time, in all and from one machine. */
  readonly connections: number;
  readonly connectionsPerMachine: number;
  /** Not yet known to be from one of the machines, in all and from one address. */
  readonly handshakes: number;
  readonly handshakesPerAddress: number;
  readonly handshakeMs: number;
  /** For the whole preface, from its first byte. */
  readonly prefaceMs: number;
  /** A connection that is kept for later may say nothing for so long. */
  readonly waitingMs: number;
  /** To the Instance. */
  readonly connectMs: number;
}

const DEFAULT_LIMITS: DataPortLimits = {
  connections: 20_000,
  connectionsPerMachine: 12_000,
  handshakes: 512,
  handshakesPerAddress: 128,
  handshakeMs: 5_000,
  prefaceMs: 2_000,
  waitingMs: 60_000,
  connectMs: 2_000,
};

export interface DataPortOptions {
  readonly identity: () => MachineIdentity;
  readonly listen: { readonly host: string; readonly port: number };
  /** Where the Instance listens on this machine. */
  readonly resolve: (instanceId: string, generation: number) => Resolved;
  /** Whether the machine is part of the cluster and may run an Edge. */
  readonly mayConnect: (nodeId: string) => boolean;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits?: Partial<DataPortLimits>;
}

export interface DataPort {
  /** Throws where it cannot listen or the identity is none. */
  start(): Promise<{ readonly host: string; readonly port: number }>;
  /** Takes the identity as it is now for whoever comes from now on. */
  renew(): void;
  /** Breaks off whoever may not be here any more. */
  recheck(): void;
  /** `handshakes`: connections of whoever is not known yet. */
  counts(): { readonly connections: number; readonly handshakes: number };
  stop(): Promise<void>;
}

const SESSION_SECONDS = 3_600;
/** An Edge that is gone without a word gives its place back: after this, and ten seconds of probes. */
const KEEPALIVE_MS = 10_000;
/** A refusal is told this long after the one before at the earliest. */
const TELL_EVERY_MS = 1_000;
const SILENT: Reader = { onRead: () => undefined };

interface Machine {
  readonly nodeId: string;
  readonly reset: () => void;
}

/** The same for both of its objects. */
const endsOf = (socket: Socket): string => `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`;

function secureOptions({ authorityPem, certificatePem, keyPem }: MachineIdentity): tls.SecureContextOptions {
  return {
    minVersion: 'TLSv1.3',
    ca: authorityPem,
    cert: certificatePem,
    key: keyPem,
    sessionTimeout: SESSION_SECONDS,
    sessionIdContext: 'libra-data',
  };
}

export function createDataPort(options: DataPortOptions): DataPort {
  const { clock, log } = options;
  const limits: DataPortLimits = { ...DEFAULT_LIMITS, ...options.limits };
  /** Plain connections whose handshake is under way, by their ends. */
  const shaking = new Map<string, Socket>();
  const shakingFrom = new Map<string, number>();
  const machines = new Map<TLSSocket, Machine>();
  const connectionsOf = new Map<string, number>();
  let toldMs = Number.NEGATIVE_INFINITY;
  let untold = 0;

  const tell = (why: string, facts: Readonly<Record<string, unknown>>): void => {
    if (clock.monotonic() - toldMs < TELL_EVERY_MS) {
      untold += 1;
      return;
    }
    toldMs = clock.monotonic();
    log.warn({ ...facts, why, ...(untold === 0 ? {} : { untold }) }, 'the data port has refused a connection');
    untold = 0;
  };

  const server = tls.createServer({
    requestCert: true,
    rejectUnauthorized: true,
    handshakeTimeout: limits.handshakeMs,
    ALPNProtocols: [PROTOCOL],
  });
  // Its own connections, since only plain ones can be reset.
  const listener = net.createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEPALIVE_MS }, (socket) => {
    const { remoteAddress: address = '' } = socket;
    const fromThere = shakingFrom.get(address) ?? 0;
    if (shaking.size >= limits.handshakes || fromThere >= limits.handshakesPerAddress) {
      tell('too many connections are about to begin', { address });
      resetSocket(socket);
      return;
    }
    const ends = endsOf(socket);
    shaking.set(ends, socket);
    shakingFrom.set(address, fromThere + 1);
    socket.once('close', () => shaken(ends, address));
    server.emit('connection', socket);
  });
  const shaken = (ends: string, address: string): Socket | null => {
    const socket = shaking.get(ends);
    if (socket === undefined || !shaking.delete(ends)) return null;
    const left = (shakingFrom.get(address) ?? 1) - 1;
    if (left === 0) shakingFrom.delete(address);
    else shakingFrom.set(address, left);
    return socket;
  };
  server.on('tlsClientError', (error: Error, socket: TLSSocket) => {
    tell(messageOf(error), { address: socket.remoteAddress });
    socket.destroy();
  });
  server.on('secureConnection', (socket: TLSSocket) => {
    const plain = shaken(endsOf(socket), socket.remoteAddress ?? '');
    if (plain === null) {
      socket.destroy();
      return;
    }
    const reset = (): void => {
      resetSocket(plain);
      socket.destroy();
    };
    socket.on('error', reset);
    // Not before: whoever goes amid a handshake is gone.
    socket.allowHalfOpen = true;
    const nodeId = idOf(socket);
    if (nodeId === null) {
      tell('its certificate is not that of an Edge, or has expired', { address: socket.remoteAddress });
      return refuse(socket, 'refused');
    }
    const open = connectionsOf.get(nodeId) ?? 0;
    if (!options.mayConnect(nodeId)) {
      tell('the machine is not part of the cluster, or may not run an Edge', { address: socket.remoteAddress, nodeId });
      return refuse(socket, 'refused');
    }
    if (machines.size >= limits.connections || open >= limits.connectionsPerMachine) {
      tell('there are too many connections', { address: socket.remoteAddress, nodeId });
      return refuse(socket, 'busy');
    }
    machines.set(socket, { nodeId, reset });
    connectionsOf.set(nodeId, open + 1);
    socket.once('close', () => {
      machines.delete(socket);
      const left = (connectionsOf.get(nodeId) ?? 1) - 1;
      if (left === 0) connectionsOf.delete(nodeId);
      else connectionsOf.set(nodeId, left);
    });
    welcome(socket, reset);
  });

  /** Whose certificate it is. A session that is resumed brings the one along that was shown when it began. */
  const idOf = (socket: TLSSocket): string | null => {
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined || !socket.authorized) return null;
    const now = clock.now();
    if (now < certificate.validFromDate.getTime() || now >= certificate.validToDate.getTime()) return null;
    return machineIdOf(certificate, 'edge') ?? machineIdOf(certificate, 'node');
  };

  const refuse = (socket: TLSSocket, why: Refusal): void => {
    // Whoever does not take it is not waited for.
    const cancel = clock.timer(limits.prefaceMs, () => socket.destroy());
    socket.once('close', cancel);
    socket.on('end', () => socket.destroy());
    socket.resume();
    socket.end(replyLine(why));
  };

  /** Reads which Instance is wanted. */
  const welcome = (socket: TLSSocket, reset: () => void): void => {
    const lines = createLineReader();
    let cancel = clock.timer(limits.waitingMs, () => socket.destroy());
    const onEnd = (): void => void socket.destroy();
    const onData = (bytes: Buffer): void => {
      if (lines.empty) {
        cancel();
        cancel = clock.timer(limits.prefaceMs, reset);
      }
      const read = lines.push(bytes);
      if (read === null) return;
      cancel();
      socket.off('data', onData);
      socket.off('end', onEnd);
      socket.pause();
      const preface = read === 'long' ? null : parsePreface(read.line);
      if (read === 'long' || preface === null) refuse(socket, 'invalid');
      else connect(socket, reset, preface, Buffer.from(read.rest));
    };
    socket.on('data', onData);
    socket.on('end', onEnd);
    socket.once('close', () => cancel());
  };

  const connect = (socket: TLSSocket, reset: () => void, { instanceId, generation, end }: Preface, first: Buffer): void => {
    const found = options.resolve(instanceId, generation);
    if (typeof found === 'string') return refuse(socket, found);
    const reader: Reader = { ...SILENT };
    const target = net.connect({
      host: found.host,
      port: found.port,
      noDelay: true,
      keepAlive: true,
      allowHalfOpen: true,
      onread: onreadOf(reader),
    });
    const giveUp = (): void => {
      settle();
      target.destroy();
      if (!socket.destroyed) refuse(socket, 'unreachable');
    };
    const gone = (): void => {
      settle();
      target.destroy();
    };
    const settle = (): void => {
      cancel();
      target.off('error', giveUp);
      socket.off('close', gone);
    };
    const cancel = clock.timer(limits.connectMs, giveUp);
    target.on('error', giveUp);
    socket.once('close', gone);
    target.once('connect', () => {
      settle();
      socket.write(replyLine('ok'));
      splice({
        peer: { socket, reset },
        target: { socket: target, reset: () => resetSocket(target) },
        reader,
        end,
        first,
        clock,
      });
    });
  };

  return {
    start: async () => {
      server.setSecureContext(secureOptions(options.identity()));
      await new Promise<void>((resolve, reject) => {
        listener.once('error', reject);
        listener.listen({ ...options.listen, backlog: 1_024 }, () => {
          listener.off('error', reject);
          resolve();
        });
      });
      listener.on('error', (error) => log.error({ error: messageOf(error) }, 'the data port has a problem with its socket'));
      // A server that listens on a host has an address with a port.
      const { address, port } = listener.address() as AddressInfo;
      return { host: address, port };
    },
    renew: () => server.setSecureContext(secureOptions(options.identity())),
    recheck: () => {
      for (const { nodeId, reset } of machines.values()) if (!options.mayConnect(nodeId)) reset();
    },
    counts: () => ({ connections: machines.size, handshakes: shaking.size }),
    stop: () =>
      new Promise((resolve) => {
        listener.close(() => resolve());
        for (const [ends, socket] of shaking) {
          shaken(ends, socket.remoteAddress ?? '');
          socket.destroy();
        }
        for (const { reset } of machines.values()) reset();
      }),
  };
}
