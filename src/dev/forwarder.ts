// The way from the developer's program to Services: a port of this machine whose connections are streams to the API Proxy at the other end
// of the session. It stays while the connection of the session comes and goes; who calls meanwhile is refused, as by a Service that is away.

import { once } from 'node:events';
import net from 'node:net';
import type { Clock } from '../lib/clock.ts';
import { resetSocket } from '../sys/reset-socket.ts';
import { CALL_STREAM } from '../tunnel/mux-frames.ts';
import { joinSocket } from '../tunnel/mux-join.ts';
import type { Mux } from '../tunnel/mux.ts';

export interface Forwarder {
  readonly port: number;
  /** Null: there is no connection at the moment. */
  use(mux: Mux | null): void;
  stop(): void;
}

const NOBODY = { onData: () => undefined, onEnd: () => undefined, onReset: () => undefined, onDrain: () => undefined };

export async function startForwarder(clock: Clock): Promise<Forwarder> {
  let current: Mux | null = null;
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const stream = current?.open(CALL_STREAM, NOBODY) ?? null;
    socket.on('error', () => undefined);
    if (stream === null) return resetSocket(socket);
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    stream.observer = joinSocket(stream, socket, clock);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a server that listens on a port has one');
  return {
    port: address.port,
    use: (mux) => {
      current = mux;
    },
    stop: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
