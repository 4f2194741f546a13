// One network for each App and Environment, so that Apps do not see each other's containers. Made when the first container needs it,
// removed some time after the last one has gone.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { Clock } from '../../lib/clock.ts';
import { Failure, messageOf } from '../../lib/failure.ts';
import type { Log } from '../../sys/log.ts';
import type { Engine, NetworkListing } from './engine.ts';
import { engineStatus } from './engine-http.ts';
import { PLATFORM_LABEL } from './handle.ts';
import { freeSubnets, routedRanges } from './subnets.ts';

/** Redeploys and restarts find their network where they left it. */
const PRUNE_AFTER_MS = 60_000;
/** Subnets that are tried when others turn out to be taken by what Docker does not tell. */
const MAX_TRIES = 16;

export interface Network {
  readonly name: string;
  /** Address of the machine in it. */
  readonly gateway: string;
}

export interface Networks {
  /** Does something with the network of the group, which is there and stays until that is done. */
  using<T>(group: string, work: (network: Network) => Promise<T>): Promise<T>;
  /** Of this platform, as they are now. */
  list(): Promise<readonly Network[]>;
  /** It turned out to be gone. */
  forget(group: string): void;
  /** Removes those that no container is in, some time from now. */
  pruneSoon(): void;
  pruneNow(): Promise<void>;
  close(): void;
}

export interface NetworksOptions {
  readonly engine: Engine;
  readonly platform: string;
  /** Range that subnets are taken from, such as 10.212.0.0/14. */
  readonly pool: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** The first of its addresses, which is also what Docker takes by itself. */
function gatewayOf(subnet: string): string {
  return subnet.replace(/\d+\/\d+$/u, '1');
}

function networkOf({ name, subnets: [subnet = ''] }: Pick<NetworkListing, 'name' | 'subnets'>): Network {
  return { name, gateway: gatewayOf(subnet) };
}

function routes(): readonly string[] {
  try {
    return routedRanges(readFileSync('/proc/net/route', 'utf8'));
  } catch {
    return []; // no such table here: Docker runs elsewhere too
  }
}

export function createNetworks({ engine, platform, pool, clock, log }: NetworksOptions): Networks {
  const known = new Map<string, Network>();
  /** How many are about to use each. */
  const needed = new Map<string, number>();
  let cancelPrune: (() => void) | null = null;
  /** Making and removing take turns. */
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const going = turn.then(work);
    turn = going.catch(() => undefined);
    return going;
  };

  const nameOf = (group: string): string => `libra-${platform}-${createHash('sha256').update(group).digest('hex').slice(0, 12)}`;

  const make = async (name: string): Promise<Network> => {
    const present = await engine.networks();
    const there = present.find((network) => network.name === name);
    if (there !== undefined) return networkOf(there);
    const ours = Object.values(networkInterfaces()).flatMap((addresses) => (addresses ?? []).flatMap(({ cidr }) => cidr ?? []));
    const taken = [...ours, ...routes(), ...present.flatMap(({ subnets }) => subnets)];
    let tries = 0;
    for (const subnet of freeSubnets(pool, taken, name)) {
      try {
        await engine.createNetwork({
          Name: name,
          CheckDuplicate: true,
          Driver: 'bridge',
          IPAM: { Driver: 'default', Config: [{ Subnet: subnet, Gateway: gatewayOf(subnet) }] },
          Labels: { [PLATFORM_LABEL]: platform },
        });
        return { name, gateway: gatewayOf(subnet) };
      } catch (error) {
        const faster = engineStatus(error) === 409 ? (await engine.networks()).find((network) => network.name === name) : undefined;
        if (faster !== undefined) return networkOf(faster);
        tries += 1;
        const overlaps = engineStatus(error) === 403 || /overlap/u.test(messageOf(error));
        if (!overlaps || tries === MAX_TRIES) throw error;
      }
    }
    throw new Failure('no_capacity', {
      message: `No subnet of ${pool} is free for another network of containers.`,
      hint: 'Give librad a larger range that nothing else uses: --docker-subnets',
    });
  };

  const prune = (): Promise<void> =>
    inTurn(async () => {
      for (const { name, labels } of await engine.networks()) {
        if (labels[PLATFORM_LABEL] !== platform || needed.has(name)) continue;
        if ((await engine.listContainers([], name)).length > 0) continue;
        known.delete(name);
        await engine.removeNetwork(name);
      }
    });

  const ensure = async (name: string): Promise<Network> => {
    const before = known.get(name);
    if (before !== undefined) return before;
    return inTurn(async () => {
      const network = known.get(name) ?? (await make(name));
      known.set(name, network);
      return network;
    });
  };

  return {
    using: async (group, work) => {
      const name = nameOf(group);
      needed.set(name, (needed.get(name) ?? 0) + 1);
      try {
        return await work(await ensure(name));
      } finally {
        const left = (needed.get(name) ?? 1) - 1;
        if (left === 0) needed.delete(name);
        else needed.set(name, left);
      }
    },
    list: async () => (await engine.networks()).filter(({ labels }) => labels[PLATFORM_LABEL] === platform).map(networkOf),
    forget: (group) => void known.delete(nameOf(group)),
    pruneSoon: () => {
      cancelPrune ??= clock.timer(PRUNE_AFTER_MS, () => {
        cancelPrune = null;
        prune().catch((error: unknown) => log.warn({ error: messageOf(error) }, 'networks without containers are not removed'));
      });
    },
    pruneNow: prune,
    close: () => cancelPrune?.(),
  };
}
