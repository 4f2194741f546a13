// Accepts connections that read into memory which is used again. The library has that for connections which it opens, by the public
// option `onread`, and not for those that it accepts; for them the server's handle is asked directly, where it is as expected.

import net from 'node:net';
import { onreadOf } from '../sys/reader.ts';
import type { Reader } from '../sys/reader.ts';

/** Gets each connection, not yet read from; `reader` is to be given what comes before this turn of the event loop is over. */
export type OnAccepted = (socket: net.Socket, reader: Reader) => void;

/** Of sockets that are accepted. */
export const ACCEPTED = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 } as const;

/** A server of which each connection's bytes go to its reader. @param take false of it: by the library's own way. */
export function createReadingServer(onAccepted: OnAccepted, take = takeHandle): net.Server {
  const accept = (socket: net.Socket): void => {
    const reader: Reader = { onRead: () => undefined };
    onAccepted(socket, reader);
    socket.on('data', (chunk: Buffer) => reader.onRead(chunk));
  };
  const server = net.createServer(ACCEPTED, accept);
  server.on('listening', () => take(server, onAccepted));
  return server;
}

/** What is asked of the library's own objects. */
interface TcpHandle {
  setNoDelay(on: boolean): void;
  setKeepAlive(on: boolean, delayS: number): void;
  readStart(): void;
  close(): void;
}

/** False where the library is not as it is known: its server then accepts in its own way. */
export function takeHandle(server: net.Server, onAccepted: OnAccepted): boolean {
  const handle: unknown = Reflect.get(server, '_handle');
  if (typeof handle !== 'object' || handle === null || typeof Reflect.get(handle, 'onconnection') !== 'function') return false;
  if (!isKnown(handle)) return false;
  // Accepted sockets have these from the one that listens: five calls of the system less for each.
  handle.setNoDelay(true);
  handle.setKeepAlive(true, ACCEPTED.keepAliveInitialDelay / 1_000);
  const ownWay: unknown = Reflect.get(handle, 'onconnection');
  const onConnection = function (this: unknown, status: number, accepted: TcpHandle): void {
    if (status !== 0 || !isKnown(accepted)) {
      if (typeof ownWay === 'function') Reflect.apply(ownWay, this, [status, accepted]);
      return;
    }
    const reader: Reader = { onRead: () => undefined };
    const options: net.SocketConstructorOpts = { allowHalfOpen: true, onread: onreadOf(reader) };
    // As the library's own server does it.
    Reflect.set(options, 'handle', accepted);
    onAccepted(new net.Socket(options), reader);
  };
  return Reflect.set(handle, 'onconnection', onConnection);
}

function isKnown(handle: unknown): handle is TcpHandle {
  if (typeof handle !== 'object' || handle === null) return false;
  return ['setNoDelay', 'setKeepAlive', 'readStart', 'close'].every((name) => typeof Reflect.get(handle, name) === 'function');
}
