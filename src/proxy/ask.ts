// A short question to a target beside the requests of clients: one connection, one GET, and the status is the answer.

import type net from 'node:net';
import type { Clock } from '../lib/clock.ts';
import type { Dial, Target } from './dial.ts';

/** @param path with its query. @returns the status of the answer; null: there was none in time. Never throws. */
export type Ask = (target: Target, path: string) => Promise<number | null>;

/** For the connection, and then for the answer. */
const ASK_MS = 2_000;
const STATUS_LINE = /^HTTP\/1\.[01] (\d{3}) /u;
const STATUS_LINE_BYTES = 13;

/** What speaks HTTP/2 alone cannot be asked. */
export function createAsk(dial: Dial, clock: Clock): Ask {
  return async (target, path) => {
    let socket: net.Socket;
    try {
      socket = await dial(target, ASK_MS);
    } catch {
      return null;
    }
    return ask(socket, target, path, clock);
  };
}

function ask(socket: net.Socket, target: Target, path: string, clock: Clock): Promise<number | null> {
  return new Promise((resolve) => {
    let answer = '';
    const end = (status: number | null): void => {
      cancel();
      socket.destroy();
      resolve(status);
    };
    const cancel = clock.timer(ASK_MS, () => end(null));
    socket.on('error', () => end(null));
    socket.on('close', () => end(null));
    socket.on('end', () => end(null));
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1', 0, STATUS_LINE_BYTES);
      if (answer.length < STATUS_LINE_BYTES) return;
      const digits = STATUS_LINE.exec(answer)?.[1];
      end(digits === undefined ? null : Number(digits));
    });
    const host = target.host.includes(':') ? `[${target.host}]` : target.host;
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}:${target.port}\r\nUser-Agent: libra-edge\r\nConnection: close\r\n\r\n`, 'latin1');
  });
}
