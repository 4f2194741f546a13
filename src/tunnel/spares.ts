// Connections to data ports that have shaken hands already and wait for somebody who says which Instance he wants: with one of them, a new
// connection to an Instance elsewhere takes one round trip, as on one's own machine. Few, young, and only where there was one before.

import type { TLSSocket } from 'node:tls';
import type { Clock } from '../lib/clock.ts';
import { Gate } from './await-line.ts';

export interface Spare {
  readonly socket: TLSSocket;
  readonly gate: Gate;
}

export interface Spares {
  /** The youngest for this port; it is the caller's. */
  take(port: string): Spare | null;
  /** Makes one more, where there are few. Never throws. @param open may throw. */
  refill(port: string, open: (gate: Gate) => TLSSocket): void;
  /** Closes all. */
  clear(): void;
}

const PER_PORT = 2;
const IN_ALL = 256;
/** Well below what a data port waits. */
const KEEP_MS = 10_000;

interface Kept extends Spare {
  readonly port: string;
  ready: boolean;
  /** It is no spare any longer. */
  readonly leave: () => void;
}

export function createSpares(clock: Clock): Spares {
  /** Those that still shake hands included; oldest first. */
  const all = new Set<Kept>();

  return {
    take: (port) => {
      let youngest: Kept | null = null;
      for (const kept of all) if (kept.ready && kept.port === port) youngest = kept;
      if (youngest === null) return null;
      youngest.leave();
      youngest.socket.ref();
      return youngest;
    },
    refill: (port, open) => {
      let there = 0;
      for (const kept of all) if (kept.port === port) there += 1;
      if (there >= PER_PORT || all.size >= IN_ALL) return;
      const gate = new Gate();
      let socket: TLSSocket;
      try {
        socket = open(gate);
      } catch {
        // Whoever needs a connection is told why there is none.
        return;
      }
      const drop = (): void => {
        kept.leave();
        socket.on('error', () => undefined);
        socket.destroy();
      };
      const leave = (): void => {
        cancel();
        all.delete(kept);
        for (const event of ['error', 'close', 'end']) socket.off(event, drop);
      };
      const kept: Kept = { port, socket, gate, ready: false, leave };
      const cancel = clock.timer(KEEP_MS, drop);
      all.add(kept);
      for (const event of ['error', 'close', 'end']) socket.on(event, drop);
      // Nobody has asked: what comes is a refusal.
      gate.lead(drop);
      socket.once('secureConnect', () => {
        kept.ready = true;
      });
      socket.unref();
      socket.resume();
    },
    clear: () => {
      for (const { socket, leave } of all) {
        leave();
        socket.on('error', () => undefined);
        socket.destroy();
      }
    },
  };
}
