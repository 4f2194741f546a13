// The address by which other machines reach this one, where nobody has said it: the one that it would go to them from.

import { createSocket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { within } from '../lib/deadline.ts';
import type { Clock } from '../lib/clock.ts';

const LOOK_MS = 5_000;

/** The local address on the way to that host; nothing is sent. Rejects where there is no way, or the name is not known. */
export async function addressTowards(url: string, clock: Clock): Promise<string> {
  const { hostname } = new URL(url);
  const host = hostname.replace(/^\[|\]$/gu, '');
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  try {
    const connected = new Promise<string>((resolve, reject) => {
      socket.once('error', reject);
      // Any port: connecting only looks up the way.
      socket.connect(9, host, () => resolve(socket.address().address));
    });
    return await within(clock, LOOK_MS, `Looking for the way to ${host}`, connected);
  } finally {
    socket.close();
  }
}

export const isEverywhere = (host: string): boolean => host === '0.0.0.0' || host === '::';

/** One that other machines may know this one by; null: it has none. */
export function outerAddress(): string | null {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return all.find(({ internal, family }) => !internal && family === 'IPv4')?.address ?? null;
}
