// Connections to targets that speak HTTP/2 by prior knowledge (h2c), each shared by many exchanges. A connection is handed out only
// after the target's settings have come: until then nobody knows that it speaks HTTP/2 at all.

import http2 from 'node:http2';
import type { ClientHttp2Session } from 'node:http2';
import { messageOf } from '../../lib/failure.ts';
import { targetKey } from '../dial.ts';
import type { Target } from '../dial.ts';
import type { KeptUpstreams, KeptUpstreamsOptions } from '../kept-upstreams.ts';
import type { Opening, UpstreamObserver } from '../message.ts';
import { TargetStream } from './target-stream.ts';

/** Exchanges on one connection, where the target allows more. Many connections use a target's cores better than one. */
const STREAMS = 100;
/** Of the library for one connection, beyond which it refuses streams: what all may have on its way, and then some. */
const MEMORY_MIB = 64;
const STREAM_WINDOW = 128 * 1024;
const CONNECTION_WINDOW = 4 * 1024 * 1024;
/** A GOAWAY says what was not begun, so an idle connection may be kept for longer than one of HTTP/1.1. */
const IDLE_MS = 30_000;
const SWEEP_MS = 1_000;

interface Waiting {
  readonly observer: UpstreamObserver;
  readonly opening: Opening;
  wanted: boolean;
}

interface Connection {
  readonly session: ClientHttp2Session;
  streams: number;
  served: number;
  idleSinceMs: number;
  /** It takes no further exchanges. */
  leaving: boolean;
}

interface TargetConnections {
  readonly target: Target;
  readonly connections: Set<Connection>;
  /** Who waits for the connections that are being made. */
  readonly waiting: Waiting[];
  dialling: number;
  kept: boolean;
}

export function createTargetSessions(options: KeptUpstreamsOptions): KeptUpstreams {
  const { dial, limits, clock } = options;
  const targets = new Map<string, TargetConnections>();
  /** Of targets that are gone, while exchanges of theirs are open. */
  const leaving = new Set<TargetConnections>();
  let cancelSweep: (() => void) | null = null;

  // Apart, since the types know the first option for servers only.
  const sessionOptions = {
    strictSingleValueFields: false,
    maxHeaderListPairs: 256,
    maxSessionMemory: MEMORY_MIB,
    settings: { enablePush: false, initialWindowSize: STREAM_WINDOW, maxHeaderListSize: limits.headerBytes * 2 },
  };

  const entryOf = (target: Target): TargetConnections => {
    const key = targetKey(target);
    let entry = targets.get(key);
    if (entry === undefined) {
      entry = { target, connections: new Set(), waiting: [], dialling: 0, kept: true };
      targets.set(key, entry);
    }
    return entry;
  };
  const dropIfEmpty = (entry: TargetConnections): void => {
    if (entry.connections.size > 0 || entry.dialling > 0) return;
    leaving.delete(entry);
    if (targets.get(targetKey(entry.target)) === entry) targets.delete(targetKey(entry.target));
  };
  const end = (connection: Connection): void => {
    connection.leaving = true;
    connection.session.close();
  };

  const sweep = (): void => {
    cancelSweep = null;
    const limit = clock.monotonic() - IDLE_MS;
    for (const { connections } of targets.values())
      for (const connection of connections)
        if (connection.streams === 0 && connection.idleSinceMs <= limit && !connection.leaving) end(connection);
    if (targets.size > 0) cancelSweep = clock.timer(SWEEP_MS, sweep);
  };

  const roomOf = ({ session, streams, leaving: isLeaving }: Connection): number =>
    isLeaving || session.closed || session.destroyed
      ? 0
      : Math.min(STREAMS, session.remoteSettings.maxConcurrentStreams ?? STREAMS) - streams;

  const use = (entry: TargetConnections, connection: Connection, observer: UpstreamObserver, opening: Opening): void => {
    connection.streams += 1;
    let open = true;
    const stream = new TargetStream(
      {
        session: connection.session,
        reused: connection.served > 0,
        onClosed: () => {
          if (!open) return;
          open = false;
          connection.streams -= 1;
          connection.idleSinceMs = clock.monotonic();
          if (connection.streams === 0 && !entry.kept) end(connection);
        },
      },
      observer,
    );
    connection.served += 1;
    opening.onOpened(stream);
  };

  const find = (entry: TargetConnections): Connection | null => {
    for (const connection of entry.connections) if (roomOf(connection) > 0) return connection;
    return null;
  };

  /** Hands the connections out to those who wait; `why` for those who wait in vain. */
  const serve = (entry: TargetConnections, why: string | null): void => {
    while (entry.waiting.length > 0) {
      const connection = find(entry);
      if (connection === null) break;
      const next = entry.waiting.shift();
      if (next?.wanted === true) use(entry, connection, next.observer, next.opening);
    }
    if (why !== null && entry.dialling === 0)
      for (const { wanted, opening } of entry.waiting.splice(0)) if (wanted) opening.onOpenFailed(why);
    // The target allows fewer than it was hoped.
    if (entry.waiting.length > entry.dialling * STREAMS) void connect(entry);
  };

  const connect = async (entry: TargetConnections): Promise<void> => {
    entry.dialling += 1;
    let why: string | null = null;
    try {
      const connection = await establish(entry);
      entry.connections.add(connection);
    } catch (error) {
      why = messageOf(error);
    }
    entry.dialling -= 1;
    serve(entry, why);
    dropIfEmpty(entry);
  };

  /** A connection whose settings have come. */
  const establish = async (entry: TargetConnections): Promise<Connection> => {
    const { target } = entry;
    const socket = await dial(target, limits.connectTimeoutMs);
    const session = http2.connect(`http://${target.host}:${target.port}`, { ...sessionOptions, createConnection: () => socket });
    const connection: Connection = { session, streams: 0, served: 0, idleSinceMs: clock.monotonic(), leaving: false };
    let problem = 'it closed the connection';
    session.on('error', (error: Error) => {
      problem = error.message;
    });
    session.on('goaway', () => {
      connection.leaving = true;
    });
    // A target that has ended its side takes nothing more.
    socket.on('end', () => session.destroy());
    session.on('close', () => {
      entry.connections.delete(connection);
      dropIfEmpty(entry);
    });
    return await new Promise<Connection>((resolve, reject) => {
      const cancel = clock.timer(limits.connectTimeoutMs, () => session.destroy(new Error('it did not answer in time')));
      session.once('remoteSettings', () => {
        cancel();
        session.setLocalWindowSize(CONNECTION_WINDOW);
        cancelSweep ??= clock.timer(SWEEP_MS, sweep);
        resolve(connection);
      });
      session.once('close', () => {
        cancel();
        reject(new Error(`the target ${target.host}:${target.port} does not speak HTTP/2: ${problem}`));
      });
    });
  };

  return {
    open: (target, _alone, observer, opening) => {
      const entry = entryOf(target);
      const connection = find(entry);
      if (connection !== null) {
        use(entry, connection, observer, opening);
        return null;
      }
      const waiting: Waiting = { observer, opening, wanted: true };
      entry.waiting.push(waiting);
      if (entry.waiting.length > entry.dialling * STREAMS) void connect(entry);
      return {
        cancel: () => {
          waiting.wanted = false;
        },
      };
    },
    closeIdle: (target) => {
      for (const connection of targets.get(targetKey(target))?.connections ?? []) if (connection.streams === 0) end(connection);
    },
    forget: (gone) => {
      for (const target of gone) {
        const entry = targets.get(targetKey(target));
        if (entry === undefined) continue;
        entry.kept = false;
        targets.delete(targetKey(target));
        if (entry.connections.size > 0 || entry.dialling > 0) leaving.add(entry);
        for (const connection of entry.connections) if (connection.streams === 0) end(connection);
      }
    },
    sizes: () => {
      let idle = 0;
      let busy = 0;
      for (const { connections } of [...targets.values(), ...leaving])
        for (const { streams } of connections) {
          if (streams === 0) idle += 1;
          else busy += 1;
        }
      return { targets: targets.size, idle, busy };
    },
    stop: () => {
      cancelSweep?.();
      for (const { connections } of [...targets.values(), ...leaving]) for (const { session } of connections) session.destroy();
      targets.clear();
      leaving.clear();
    },
  };
}
