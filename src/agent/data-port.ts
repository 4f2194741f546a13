// The data port of this Node, as its agent knows what runs here. Who may come in is what control said last; that is kept on disk, so that
// an agent that starts while control is away lets in neither nobody nor whoever was removed.

import { readJsonFile, replaceFileSync } from '../sys/durable-file.ts';
import type { Clock } from '../lib/clock.ts';
import type { Log } from '../sys/log.ts';
import { createDataPort } from '../tunnel/data-port.ts';
import type { Resolved } from '../tunnel/data-port.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import type { InstanceState } from './instance-state.ts';
import { addressOf } from './status.ts';

const LOOPBACK = '127.0.0.1';

export interface AgentDataPortOptions {
  readonly identity: () => MachineIdentity;
  /** Where it listens; port 0: any. */
  readonly host: string;
  readonly port: number;
  /** The address by which other machines reach it; absent: `host`. */
  readonly advertised?: string;
}

export interface AgentDataPort {
  /** Where other machines reach it. */
  readonly address: { readonly host: string; readonly port: number };
  /** All machines that may come in. */
  setPeers(machines: readonly string[]): void;
  /** Further ones. */
  addPeers(machines: readonly string[]): void;
  /** Laptops that an Edge of this machine listens for on loopback: the port of each, by its session. */
  setSessions(ports: Readonly<Record<string, number>>): void;
  /** The identity has changed. */
  renew(): void;
  stop(): Promise<void>;
}

export interface AgentDataPortDeps {
  readonly clock: Clock;
  readonly log: Log;
  /** Where the machines that may come in are kept. */
  readonly file: string;
  readonly state: (instanceId: string) => InstanceState | undefined;
}

export async function startDataPort(options: AgentDataPortOptions, { clock, log, file, state }: AgentDataPortDeps): Promise<AgentDataPort> {
  let peers: ReadonlySet<string> = new Set(keptPeers(file));
  let sessions: ReadonlyMap<string, number> = new Map();
  const dataPort = createDataPort({
    identity: options.identity,
    listen: { host: options.host, port: options.port },
    resolve: (id, generation) => {
      const port = sessions.get(id);
      return port === undefined ? resolve(state(id), generation) : { host: LOOPBACK, port };
    },
    mayConnect: (nodeId) => peers.has(nodeId),
    clock,
    log,
  });
  const keep = (next: ReadonlySet<string>): void => {
    peers = next;
    replaceFileSync(file, `${JSON.stringify([...next])}\n`);
  };
  const { host, port } = await dataPort.start();
  log.info({ host, port }, 'the data port is open');
  return {
    address: { host: options.advertised ?? host, port },
    setPeers: (machines) => {
      keep(new Set(machines));
      dataPort.recheck();
    },
    addPeers: (machines) => keep(new Set([...peers, ...machines])),
    setSessions: (ports) => {
      sessions = new Map(Object.entries(ports));
    },
    renew: () => dataPort.renew(),
    stop: () => dataPort.stop(),
  };
}

/** An Instance of a later generation is the same program: only one that this Node has fallen behind with is none. */
function resolve(state: InstanceState | undefined, generation: number): Resolved {
  if (state === undefined) return 'unknown_instance';
  if (state.generation < generation) return 'stale_generation';
  return addressOf(state) ?? 'not_running';
}

function keptPeers(file: string): readonly string[] {
  const kept = readJsonFile(file);
  return Array.isArray(kept) ? kept.filter((id) => typeof id === 'string') : [];
}
