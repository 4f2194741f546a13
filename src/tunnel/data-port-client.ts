// The way to an Instance through the data port of its Node. A connection that is handed out is joined to the Instance, and nothing has
// been sent to it: whatever fails before that may be tried elsewhere.

import type { OnReadOpts } from 'node:net';
import tls from 'node:tls';
import type { SecureContext, TLSSocket } from 'node:tls';
import type { Clock } from '../lib/clock.ts';
import { Failure, isFailure, messageOf } from '../lib/failure.ts';
import { onreadOf } from '../sys/reader.ts';
import type { Reader } from '../sys/reader.ts';
import { awaitLine, Gate } from './await-line.ts';
import { machineName } from './identity.ts';
import type { MachineIdentity } from './identity.ts';
import { parseReply, prefaceLine, PROTOCOL, REFUSALS } from './preface.ts';
import type { Preface, Refusal } from './preface.ts';
import { createSpares } from './spares.ts';

/** Where a data port is, and whose it has to be. */
export interface DataPortAddress {
  readonly nodeId: string;
  readonly host: string;
  readonly port: number;
}

export interface DataPortClientOptions {
  /** Null: this machine has none (yet). */
  readonly identity: () => MachineIdentity | null;
  readonly clock: Clock;
}

export interface DataPortClient {
  /**
   * Throws `unreachable`, `timeout` or `unavailable` with nothing sent to the Instance.
   * @param reader gets what comes; absent: the socket is read as any other.
   */
  connect(to: DataPortAddress, preface: Preface, timeoutMs: number, reader?: Reader): Promise<TLSSocket>;
  /** Lets go of what it keeps; connections that were handed out go on. */
  stop(): void;
}

/** A Node that is gone without a word ends what only listens to it: after this, and ten seconds of probes. */
const KEEPALIVE_MS = 10_000;
/** Data ports whose session is remembered. */
const SESSIONS = 1_024;

interface Asked {
  readonly to: DataPortAddress;
  readonly preface: Preface;
  readonly timeoutMs: number;
  readonly reader: Reader | undefined;
}

export function createDataPortClient(options: DataPortClientOptions): DataPortClient {
  const { clock } = options;
  const spares = createSpares(clock);
  let used: { readonly identity: MachineIdentity; readonly context: SecureContext } | null = null;
  /** The newest of each data port, by its name and address. */
  const sessions = new Map<string, Buffer>();

  const contextNow = (): SecureContext => {
    const identity = options.identity();
    if (identity === null)
      throw new Failure('unavailable', {
        message: 'This machine has no certificate of the cluster, so it cannot reach Instances on other Nodes.',
        hint: 'Let it join the cluster (`libra join`).',
      });
    if (used !== null && isSame(used.identity, identity)) return used.context;
    const { authorityPem: ca, certificatePem: cert, keyPem: key } = identity;
    const context = tls.createSecureContext({ minVersion: 'TLSv1.3', ca, cert, key });
    used = { identity, context };
    // They stand for the certificate of before.
    sessions.clear();
    spares.clear();
    return context;
  };

  const remember = (name: string, context: SecureContext, session: Buffer): void => {
    if (used?.context !== context) return;
    sessions.delete(name);
    const [oldest] = sessions.keys();
    if (sessions.size >= SESSIONS && oldest !== undefined) sessions.delete(oldest);
    sessions.set(name, session);
  };

  /** Begins a connection. @param gate gets what is read; null: it is read as a stream. */
  const open = (context: SecureContext, to: DataPortAddress, gate: Gate | null): TLSSocket => {
    const name = nameOf(to);
    const session = sessions.get(name);
    // The types know the last two for plain sockets only.
    const connecting: tls.ConnectionOptions & { readonly allowHalfOpen: true; readonly onread?: OnReadOpts } = {
      host: to.host,
      port: to.port,
      servername: machineName(to.nodeId, 'node'),
      secureContext: context,
      ALPNProtocols: [PROTOCOL],
      ...(session === undefined ? {} : { session }),
      allowHalfOpen: true,
      ...(gate === null ? {} : { onread: onreadOf(gate) }),
    };
    const socket = tls.connect(connecting);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    socket.on('session', (next: Buffer) => remember(name, context, next));
    return socket;
  };

  /** Says what is wanted on a connection and waits for the answer. Throws with the connection closed. */
  const ask = (socket: TLSSocket, gate: Gate | null, { to, preface, timeoutMs, reader }: Asked): Promise<TLSSocket> =>
    new Promise((resolve, reject) => {
      const where = `data port of Node ${to.nodeId} at ${to.host}:${to.port}`;
      const fail = (failure: Failure): void => {
        cancel();
        stop();
        // What else goes wrong with it is of no interest to anybody.
        socket.on('error', () => undefined);
        socket.destroy();
        reject(failure);
      };
      const cancel = clock.timer(timeoutMs, () =>
        fail(new Failure('timeout', { message: `Connecting to the ${where} took longer than ${timeoutMs} ms.` })),
      );
      const stop = awaitLine(socket, gate, {
        onGone: (error) => {
          const why = error === null ? 'it closed the connection' : messageOf(error);
          fail(new Failure('unreachable', { message: `Cannot connect to the ${where}: ${why}.`, cause: error }));
        },
        onLine: (line, rest) => {
          const reply = line === null ? null : parseReply(line);
          if (reply !== 'ok') return fail(refusedBy(where, preface, reply));
          cancel();
          if (gate !== null && reader !== undefined) gate.handOver(reader, rest);
          else if (rest.length > 0) socket.unshift(rest);
          resolve(socket);
        },
      });
      if (socket.authorized) socket.write(prefaceLine(preface));
      else socket.once('secureConnect', () => socket.write(prefaceLine(preface)));
    });

  /** Over a connection that has waited for this; null: there is none, or it had gone, with nothing sent. */
  const connectBySpare = async (asked: Asked): Promise<TLSSocket | null> => {
    const spare = spares.take(nameOf(asked.to));
    if (spare === null) return null;
    try {
      return await ask(spare.socket, spare.gate, asked);
    } catch (error) {
      // A refusal has details, and would be the same over another one.
      if (isFailure(error, 'unreachable') && error.details === undefined) return null;
      throw error;
    }
  };

  return {
    connect: async (to, preface, timeoutMs, reader) => {
      const context = contextNow();
      const beganMs = clock.monotonic();
      // What is read as a stream is kept for long: it may take a moment to come about.
      const sooner = reader === undefined ? null : await connectBySpare({ to, preface, timeoutMs, reader });
      const gate = reader === undefined ? null : new Gate();
      const leftMs = Math.max(1, timeoutMs - Math.floor(clock.monotonic() - beganMs));
      const socket = sooner ?? (await ask(open(context, to, gate), gate, { to, preface, timeoutMs: leftMs, reader }));
      if (gate !== null) spares.refill(nameOf(to), (its) => open(contextNow(), to, its));
      return socket;
    },
    stop: () => spares.clear(),
  };
}

/** What a session and a spare connection are good for. */
const nameOf = ({ nodeId, host, port }: DataPortAddress): string => `${nodeId} ${host}:${port}`;

function refusedBy(where: string, { instanceId }: Preface, refusal: Refusal | null): Failure {
  const message =
    refusal === null
      ? `What answers at the ${where} is no data port.`
      : `The ${where} refuses Instance ${instanceId}: ${REFUSALS[refusal]}.`;
  return new Failure('unreachable', { message, details: { refusal } });
}

function isSame(a: MachineIdentity, b: MachineIdentity): boolean {
  return a === b || (a.certificatePem === b.certificatePem && a.keyPem === b.keyPem && a.authorityPem === b.authorityPem);
}
