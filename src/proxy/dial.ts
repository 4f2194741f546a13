// How a connection to a target comes about. The one seam between "which Instance" and "over which network": an address of this machine
// is dialled directly, what other machines run is reached by a Dial of its own. A dialled socket is connected: nothing was sent before.

import net from 'node:net';
import { Failure, messageOf } from '../lib/failure.ts';
import { onreadOf } from '../sys/reader.ts';
import type { Reader } from '../sys/reader.ts';

export interface Target {
  /** Names the target in counts, logs and reports. */
  readonly id: string;
  readonly nodeId: string;
  readonly host: string;
  readonly port: number;
  /** Which state of it is meant at least, where its Node is asked. */
  readonly generation?: number;
  /** Where its Node is asked for it from elsewhere. */
  readonly via?: { readonly host: string; readonly port: number };
  /** Absent: http1. */
  readonly protocol?: 'http1' | 'h2c';
  /** Connections at the same time, where requests share them; absent: no bound. */
  readonly maxConnections?: number;
  /** It says `ok` and a line end before anything else, once whoever takes the connection is there; absent: it does not. */
  readonly greets?: boolean;
  /** Which version of a program it runs, for logs and counts. */
  readonly version?: string;
}

/**
 * Opens a connection, or throws `unreachable`, `unavailable` or `timeout` with nothing sent.
 * @param reader gets what comes, which is no event of the socket then.
 * @param halfEnds whoever dials may end its direction and listen on; without it, the end of what it sends is the end of all.
 */
export type Dial = (target: Target, timeoutMs: number, reader?: Reader, halfEnds?: boolean) => Promise<net.Socket>;

/** A target with its address, so that an Instance that comes back on another port starts afresh. */
export function targetKey(target: Target): string {
  const { via } = target;
  const key = `${target.id}@${target.host}:${target.port}${via === undefined ? '' : ` via ${via.host}:${via.port}`}`;
  return target.protocol === 'h2c' ? `${key} h2c` : key;
}

export const dialDirect: Dial = (target, timeoutMs, reader) =>
  new Promise((resolve, reject) => {
    const socket = net.connect({
      host: target.host,
      port: target.port,
      noDelay: true,
      keepAlive: true,
      allowHalfOpen: true,
      // A buffer for each read would be made, shrunk and collected again for every answer.
      ...(reader === undefined ? {} : { onread: onreadOf(reader) }),
    });
    const onTimeout = (): void => {
      socket.destroy();
      reject(new Failure('timeout', { message: `Connecting to ${target.host}:${target.port} took longer than ${timeoutMs} ms.` }));
    };
    const onError = (error: Error): void => {
      socket.destroy();
      reject(
        new Failure('unreachable', { message: `Cannot connect to ${target.host}:${target.port}: ${messageOf(error)}.`, cause: error }),
      );
    };
    socket.setTimeout(timeoutMs, onTimeout);
    socket.once('error', onError);
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.off('timeout', onTimeout);
      socket.off('error', onError);
      resolve(socket);
    });
  });
