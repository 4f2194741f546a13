// Programs on loopback for the tests of this folder, and waiting for what has to come true.

import { once } from 'node:events';
import net from 'node:net';
import type { Socket } from 'node:net';

/** Resolves when it holds; fails after ten seconds. */
export async function until(holds: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`never came true: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export interface Loopback {
  readonly host: string;
  readonly port: number;
  /** Takes no connection any more; those that there are go on. */
  close(): void;
  /** Ends those too. */
  end(): void;
}

/** A program that listens and ends each direction by itself. */
export async function listenOnLoopback(onConnection: (socket: Socket) => void): Promise<Loopback> {
  const sockets = new Set<Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('a server that listens has an address');
  const close = (): void => void server.close();
  return {
    host: '127.0.0.1',
    port: address.port,
    close,
    end: () => {
      close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
