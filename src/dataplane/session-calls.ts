// Calls of developers' programs: the gateway joins what comes from a laptop to the API Proxy of its own process, and the API Proxy knows
// by the connection whose session calls. Both ends are this process's, so the port that one comes from, on loopback, can be nobody else's.

import net from 'node:net';
import type { Clock } from '../lib/clock.ts';
import type { ConnectionFacts } from '../proxy/message.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import { signInstanceToken } from '../tunnel/instance-token.ts';
import type { InstanceClaims } from '../tunnel/instance-token.ts';

/** A session as a caller of Services. */
export interface CallingSession extends InstanceClaims {
  readonly key: string;
  readonly uses: readonly string[];
}

export interface SessionCaller extends CallingSession {
  /** By which the platform's own Services know it; '' where this machine has no name. */
  readonly token: string;
}

export interface SessionCalls {
  /** Where the API Proxy of this process takes them. */
  listensOn(port: number): void;
  /** A connection to it, on its way; null: there is none here. */
  connect(session: CallingSession): net.Socket | null;
  /** null: it is none of them. */
  callerOf(connection: ConnectionFacts): SessionCaller | null;
}

const LOOPBACK = '127.0.0.1';
/** Tokens are good for longer. */
const SIGN_EVERY_MS = 300_000;

export function createSessionCalls({
  identity,
  clock,
}: {
  readonly identity: () => MachineIdentity | null;
  readonly clock: Clock;
}): SessionCalls {
  const callers = new Map<number, CallingSession>();
  const tokens = new WeakMap<CallingSession, { readonly token: string; readonly untilMs: number }>();
  let proxyPort: number | null = null;

  const tokenOf = (session: CallingSession): string => {
    const nowMs = clock.now();
    const kept = tokens.get(session);
    if (kept !== undefined && kept.untilMs > nowMs) return kept.token;
    const machine = identity();
    if (machine === null) return '';
    const token = signInstanceToken(machine, session, nowMs);
    tokens.set(session, { token, untilMs: nowMs + SIGN_EVERY_MS });
    return token;
  };

  return {
    listensOn: (port) => {
      proxyPort = port;
    },
    connect: (session) => {
      if (proxyPort === null) return null;
      const socket = net.connect({ host: LOOPBACK, port: proxyPort, allowHalfOpen: true });
      socket.once('connect', () => {
        const { localPort } = socket;
        if (localPort === undefined) return void socket.destroy();
        callers.set(localPort, session);
        socket.once('close', () => callers.delete(localPort));
      });
      return socket;
    },
    callerOf: ({ address, port }) => {
      const session = address === LOOPBACK ? callers.get(port) : undefined;
      return session === undefined ? null : { ...session, token: tokenOf(session) };
    },
  };
}
