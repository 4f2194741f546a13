// Where developers' laptops connect: each with one connection, asked for by an upgrade and shown the credential of its session, over which
// streams go to it. For each the gateway listens on loopback; who connects there has a stream to the laptop, so that to the rest of the
// data plane it is a target like any other. With its connection the port goes, so that a laptop that is lost is refused at once.

import { createHash } from 'node:crypto';
import net from 'node:net';
import type { RouteGroup, RouteSession, SessionReport } from '../api/dataplane.ts';
import type { Clock } from '../lib/clock.ts';
import { Fields } from '../proxy/fields.ts';
import { OWN_PROTOCOL } from '../proxy/message.ts';
import type { ClientStream } from '../proxy/message.ts';
import type { Log } from '../sys/log.ts';
import { joinSocket } from '../tunnel/mux-join.ts';
import { CALL_STREAM, REQUEST_STREAM } from '../tunnel/mux-frames.ts';
import { createMux } from '../tunnel/mux.ts';
import type { Mux } from '../tunnel/mux.ts';
import type { MuxStream, StreamObserver } from '../tunnel/mux-stream.ts';
import type { CallingSession, SessionCalls } from './session-calls.ts';
import type { TableChange } from './table-state.ts';

export interface GatewayOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Joins a call of a laptop's program to the API Proxy of this process. */
  readonly calls: Pick<SessionCalls, 'connect'>;
  /** What is connected has changed: control shall know soon. */
  readonly onChange: () => void;
}

export interface Gateway {
  /** An exchange that asks for the protocol of laptops. */
  take(client: ClientStream): void;
  change(change: Pick<TableChange, 'putGroups' | 'removeGroups'>): void;
  report(): readonly SessionReport[];
  /** Laptops are asked to connect anew, elsewhere; what is under way goes on until `stop`. */
  leave(): void;
  stop(): void;
}

interface Known {
  readonly session: RouteSession;
  readonly caller: CallingSession;
}

interface Attached {
  readonly id: string;
  readonly mux: Mux;
  readonly server: net.Server;
  readonly port: number;
  readonly sinceMs: number;
}

/** At one Edge. */
const MOST = 1_000;
const LOOPBACK = '127.0.0.1';
/** A laptop that was told why its connection ends has so long to close it. */
const CLOSE_MS = 1_000;

const NOBODY: StreamObserver = { onData: () => undefined, onEnd: () => undefined, onReset: () => undefined, onDrain: () => undefined };

export function createGateway({ clock, log, calls, onChange }: GatewayOptions): Gateway {
  /** By group, then as they stand in it. */
  const groups = new Map<string, readonly RouteSession[]>();
  const byHash = new Map<string, Known>();
  /** The newest of each session. */
  const attached = new Map<string, Attached>();
  /** Those too that a newer one has taken the place of, or that are asked to leave. */
  const open = new Set<Attached>();
  let leaving = false;

  const refuse = (client: ClientStream, status: number, text: string): void => {
    const body = Buffer.from(`${text}\n`);
    client.sendHead({ status, reason: '', fields: Fields.of('Content-Type', 'text/plain; charset=utf-8'), length: body.length }, true);
    client.sendData(body);
    client.sendEnd(null);
  };

  const sessionOf = (client: ClientStream): Known | null => {
    const credential = /^Bearer +(\S{1,200})$/iu.exec(client.head.fields.get('authorization') ?? '')?.[1];
    if (credential === undefined) return null;
    // By its hash: finding it, or not, tells nothing about any other.
    const known = byHash.get(createHash('sha256').update(credential).digest('hex'));
    return known === undefined || known.session.expiresAtMs <= clock.now() ? null : known;
  };

  const accept = (mux: Mux, socket: net.Socket): void => {
    socket.on('error', () => undefined);
    const stream: MuxStream | null = mux.open(REQUEST_STREAM, NOBODY);
    if (stream === null) return void socket.destroy();
    stream.observer = joinSocket(stream, socket, clock);
  };

  const close = (one: Attached, why: string): void => {
    one.mux.goAway(why);
    one.mux.close();
  };

  /** A stream that the laptop has opened: a call of its program. */
  const call = (stream: MuxStream, caller: CallingSession): StreamObserver | null => {
    const socket = stream.kind === CALL_STREAM ? calls.connect(caller) : null;
    return socket === null ? null : joinSocket(stream, socket, clock);
  };

  const attach = (client: ClientStream, { session, caller }: Known): void => {
    let over = false;
    let one: Attached | null = null;
    const mux = createMux({
      odd: false,
      clock,
      carrier: {
        write: (bytes) => {
          const taken = client.sendData(bytes);
          client.flush();
          return taken;
        },
        close: () => {
          client.sendEnd(null);
          clock.timer(CLOSE_MS, () => client.abort());
        },
      },
      onOpen: (stream) => call(stream, caller),
      onClosed: (why) => {
        over = true;
        server.close();
        if (one === null) return;
        open.delete(one);
        if (attached.get(session.id) === one) attached.delete(session.id);
        log.info({ session: session.id, why: why ?? 'it was closed here' }, 'laptop is gone');
        onChange();
      },
    });
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => accept(mux, socket));
    server.on('error', (error) => {
      log.warn({ error, session: session.id }, 'no port for a laptop');
      mux.close();
    });
    client.observe({
      onBody: (bytes) => mux.push(bytes),
      onBodyEnd: () => mux.lost('it hung up'),
      onClientDrain: () => mux.drained(),
      onClientGone: () => mux.lost('its connection broke'),
    });
    server.listen(0, LOOPBACK, () => {
      const address = server.address();
      if (over || address === null || typeof address === 'string') return void server.close();
      one = { id: session.id, mux, server, port: address.port, sinceMs: clock.now() };
      const before = attached.get(session.id);
      attached.set(session.id, one);
      open.add(one);
      if (before !== undefined) close(before, 'the session has connected anew');
      client.sendHead({ status: 101, reason: '', fields: new Fields(), length: 0, protocol: OWN_PROTOCOL }, false);
      client.readBody(true);
      log.info({ session: session.id, address: client.connection.address }, 'laptop is connected');
      onChange();
    });
  };

  return {
    take: (client) => {
      client.observe({
        onBody: () => undefined,
        onBodyEnd: () => undefined,
        onClientDrain: () => undefined,
        onClientGone: () => undefined,
      });
      if (leaving) return refuse(client, 503, 'This Edge is about to stop. Try again.');
      const known = sessionOf(client);
      if (known === null) return refuse(client, 401, 'There is no such session: it has ended, or the credential is not one.');
      if (open.size >= MOST) return refuse(client, 503, `${MOST} laptops are connected already.`);
      attach(client, known);
    },
    change: ({ putGroups, removeGroups }) => {
      let moved = false;
      const forget = (id: string): void => {
        for (const { hash } of groups.get(id) ?? []) moved = byHash.delete(hash) || moved;
        groups.delete(id);
      };
      for (const id of removeGroups) forget(id);
      for (const group of putGroups) {
        const { id, sessions = [] } = group;
        forget(id);
        if (sessions.length === 0) continue;
        groups.set(id, sessions);
        for (const session of sessions) byHash.set(session.hash, { session, caller: callerOf(session, group) });
      }
      if (!moved) return;
      const known = new Set(Array.from(byHash.values(), ({ session }) => session.id));
      for (const one of open) if (!known.has(one.id)) close(one, 'the session has ended');
    },
    report: () => Array.from(attached.values(), ({ id, port, sinceMs }) => ({ id, host: LOOPBACK, port, sinceMs })),
    leave: () => {
      leaving = true;
      for (const { mux } of open) mux.goAway('the Edge leaves');
    },
    stop: () => {
      leaving = true;
      for (const one of open) close(one, 'the Edge has stopped');
    },
  };
}

function callerOf({ id: instanceId, key, uses = [] }: RouteSession, { id, app, environment, entrypoint }: RouteGroup): CallingSession {
  return { instanceId, key, uses, app, environment, entrypoint, environmentId: id.slice(0, id.indexOf('/')) };
}
