// Addresses whose connections were ended for what they cost. Who comes back at once and does it again is let in only after a while: it
// cannot take more than a small part of the time of everybody. Nobody is shut out, since many people may share an address.

import type { Clock } from '../lib/clock.ts';

export interface Penalties {
  /** A connection from there was ended for what it cost. */
  note(address: string): void;
  /** How long a new connection from there waits before anything of it is read; 0 for nearly everybody. */
  delayMs(address: string): number;
}

/** So many within the window are borne. */
const BORNE = 3;
const WINDOW_MS = 10_000;
const DELAY_MS = 1_000;
const ADDRESSES = 4_096;

export function createPenalties(clock: Clock): Penalties {
  /** In the order in which their windows began. */
  const noted = new Map<string, { count: number; readonly untilMs: number }>();
  const current = (address: string): { count: number } | null => {
    const entry = noted.get(address);
    if (entry === undefined || entry.untilMs > clock.monotonic()) return entry ?? null;
    noted.delete(address);
    return null;
  };
  return {
    note: (address) => {
      const entry = current(address);
      if (entry !== null) {
        entry.count += 1;
        return;
      }
      noted.set(address, { count: 1, untilMs: clock.monotonic() + WINDOW_MS });
      const [oldest] = noted.keys();
      if (noted.size > ADDRESSES && oldest !== undefined) noted.delete(oldest);
    },
    delayMs: (address) => ((current(address)?.count ?? 0) > BORNE ? DELAY_MS : 0),
  };
}
