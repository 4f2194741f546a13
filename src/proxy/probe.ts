// Looks whether a target that was ejected is back, before a client's request is risked on it: by a connection, and by its own health
// check where that is a path. One connection, one short question, one deadline.

import type net from 'node:net';
import type { Clock } from '../lib/clock.ts';
import type { Dial, Target } from './dial.ts';

/** Whether the target answers. `path` null: whether it takes a connection. Never throws. */
export type Probe = (target: Target, path: string | null) => Promise<boolean>;

const PROBE_MS = 2_000;
const STATUS_LINE = /^HTTP\/1\.[01] ([23])\d\d /u;
const STATUS_LINE_BYTES = 13;

export function createProbe(dial: Dial, clock: Clock): Probe {
  return async (target, path) => {
    let socket: net.Socket;
    try {
      socket = await dial(target, PROBE_MS);
    } catch {
      return false;
    }
    // A target that speaks HTTP/2 alone cannot be asked in this way.
    if (path === null || target.protocol === 'h2c') {
      socket.on('error', () => undefined);
      socket.destroy();
      return true;
    }
    return ask(socket, target, path, clock);
  };
}

function ask(socket: net.Socket, target: Target, path: string, clock: Clock): Promise<boolean> {
  return new Promise((resolve) => {
    let answer = '';
    const end = (alive: boolean): void => {
      cancel();
      socket.destroy();
      resolve(alive);
    };
    const cancel = clock.timer(PROBE_MS, () => end(false));
    socket.on('error', () => end(false));
    socket.on('close', () => end(false));
    socket.on('end', () => end(false));
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1', 0, STATUS_LINE_BYTES);
      if (answer.length >= STATUS_LINE_BYTES) end(STATUS_LINE.test(answer));
    });
    const host = target.host.includes(':') ? `[${target.host}]` : target.host;
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}:${target.port}\r\nUser-Agent: libra-edge\r\nConnection: close\r\n\r\n`, 'latin1');
  });
}
