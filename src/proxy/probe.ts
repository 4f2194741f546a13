// Looks whether a target that was ejected is back, before a client's request is risked on it: by a connection, and by its own health
// check where that is a path.

import type net from 'node:net';
import type { Clock } from '../lib/clock.ts';
import { createAsk } from './ask.ts';
import type { Dial, Target } from './dial.ts';

/** Whether the target answers. `path` null: whether it takes a connection. Never throws. */
export type Probe = (target: Target, path: string | null) => Promise<boolean>;

const PROBE_MS = 2_000;

export function createProbe(dial: Dial, clock: Clock): Probe {
  const ask = createAsk(dial, clock);
  return async (target, path) => {
    if (path !== null && target.protocol !== 'h2c') {
      const status = await ask(target, path);
      return status !== null && status >= 200 && status < 400;
    }
    let socket: net.Socket;
    try {
      socket = await dial(target, PROBE_MS);
    } catch {
      return false;
    }
    socket.on('error', () => undefined);
    socket.destroy();
    return true;
  };
}
