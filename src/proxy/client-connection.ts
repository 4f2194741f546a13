// A connection of a client as the front sees it, whatever protocol it speaks: h1/server-connection.ts and h2/server-session.ts.

import type { Socket } from 'node:net';
import type { Deadlines } from './deadlines.ts';
import type { ProxyLimits } from './limits.ts';
import type { ClientStream, ConnectionFacts } from './message.ts';

export interface ClientConnection {
  readonly socket: Socket;
  readonly facts: ConnectionFacts;
  /** No exchange is under way and no part of a request is there. */
  readonly idle: boolean;
  /** Set when the last answer ended, or at the accept. Monotonic, coarse. */
  readonly idleSinceMs: number;
  /** Tells the client, where its protocol has a word for it outside of an answer, to send what comes next elsewhere. */
  goAway(): void;
  /** Ends a connection that is idle. */
  leave(): void;
}

export interface ClientConnectionDeps {
  readonly limits: ProxyLimits;
  readonly deadlines: Deadlines;
  /** A request has come; its observer has to be set before this returns. */
  readonly onExchange: (stream: ClientStream) => void;
  /** A message that was not valid, too large or too slow, the status that it got, and whose it was. */
  readonly onRefused: (status: number, why: string, address: string) => void;
  /** True: no further request on any connection. */
  readonly draining: () => boolean;
  readonly date: () => string;
}
