// Ports for Instances, below the kernel's ephemeral range so that no outgoing connection takes one. A port belongs to its key from the
// allocation to the release, recorded on disk; it is proven free at that moment, and never given to two.

import { createHash } from 'node:crypto';
import net from 'node:net';
import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { readJsonFile, replaceFileSync } from './durable-file.ts';
import { describeListener } from './listeners.ts';

export interface PortAllocator {
  /** The port of the key; the same again until it is released. Rejects with `no_capacity` when none of the range is free. */
  allocate(key: string): Promise<number>;
  /** Claims one certain port for the key. Rejects with `port_taken` when another key or another program has it. */
  claim(key: string, port: number): Promise<void>;
  release(key: string): void;
  /** Releases every key that is not in the set. */
  retain(keys: ReadonlySet<string>): void;
  portOf(key: string): number | null;
}

export interface PortAllocatorOptions {
  /** Where the allocations are kept: a JSON file. */
  readonly file: string;
  readonly first?: number;
  readonly last?: number;
  readonly clock: Clock;
}

/** A released port rests this long where others are free, so that late connections do not reach a stranger. */
const REST_MS = 10_000;

function bindable(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    // An address family that this machine lacks cannot be in use.
    server.once('error', (error) => resolve(!('code' in error) || (error.code !== 'EADDRINUSE' && error.code !== 'EACCES')));
    server.listen({ host, port, exclusive: true, ipv6Only: true }, () => {
      server.close(() => resolve(true));
    });
  });
}

/** True when nobody listens on the port, whichever address a program would choose. */
export async function isPortFree(port: number): Promise<boolean> {
  return (await bindable('0.0.0.0', port)) && (await bindable('::', port));
}

function load(file: string): Map<string, number> {
  const value = readJsonFile(file);
  const ports = new Map<string, number>();
  if (typeof value !== 'object' || value === null) return ports;
  for (const [key, port] of Object.entries(value)) if (typeof port === 'number' && Number.isInteger(port)) ports.set(key, port);
  return ports;
}

export function createPortAllocator(options: PortAllocatorOptions): PortAllocator {
  const first = options.first ?? 20_000;
  const last = options.last ?? 29_999;
  const { clock, file } = options;
  const byKey = load(file);
  const taken = new Set(byKey.values());
  const restingUntil = new Map<number, number>();
  // Platforms on one machine do not know of each other: each begins at a place of its own, so that they seldom want the same port.
  let next = first + ((createHash('sha256').update(file).digest().readUInt32BE() + taken.size) % (last - first + 1));
  let queue: Promise<unknown> = Promise.resolve();

  const save = (): void => replaceFileSync(file, JSON.stringify(Object.fromEntries(byKey)));
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const result = queue.then(work);
    queue = result.catch(() => undefined);
    return result;
  };
  const take = (key: string, port: number): void => {
    byKey.set(key, port);
    taken.add(port);
    restingUntil.delete(port);
    save();
  };
  const drop = (key: string): boolean => {
    const port = byKey.get(key);
    if (port === undefined) return false;
    byKey.delete(key);
    taken.delete(port);
    restingUntil.set(port, clock.monotonic() + REST_MS);
    return true;
  };
  const search = async (evenResting: boolean): Promise<number | null> => {
    for (let step = first; step <= last; step += 1) {
      const port = next;
      next = next >= last ? first : next + 1;
      const rests = (restingUntil.get(port) ?? 0) > clock.monotonic();
      if (taken.has(port) || rests !== evenResting) continue;
      if (await isPortFree(port)) return port;
    }
    return null;
  };

  return {
    allocate: (key) =>
      inTurn(async () => {
        const known = byKey.get(key);
        if (known !== undefined) return known;
        const port = (await search(false)) ?? (await search(true));
        if (port === null) {
          throw new Failure('no_capacity', { message: `No port from ${first} to ${last} is free on this Node.`, details: { first, last } });
        }
        take(key, port);
        return port;
      }),
    claim: (key, port) =>
      inTurn(async () => {
        if (byKey.get(key) === port) return;
        if (taken.has(port)) {
          const holder = [...byKey].find(([, each]) => each === port)?.[0];
          throw new Failure('port_taken', {
            message: `Port ${port} is in use by another Instance on this Node.`,
            details: { port, holder },
          });
        }
        if (!(await isPortFree(port))) {
          throw new Failure('port_taken', {
            message: `Port ${port} is in use by ${describeListener(port)?.text ?? 'another program'} on this Node.`,
            hint: 'Let the program listen on $PORT instead of a fixed port, or stop that one.',
            details: { port },
          });
        }
        drop(key);
        take(key, port);
      }),
    release: (key) => {
      if (drop(key)) save();
    },
    retain: (keys) => {
      const gone = [...byKey.keys()].filter((key) => !keys.has(key));
      for (const key of gone) drop(key);
      if (gone.length > 0) save();
    },
    portOf: (key) => byKey.get(key) ?? null,
  };
}
