// The data plane seen from librad: the keeper holds its listening sockets and is its parent, so it serves on while librad is away, and
// a new version takes the same sockets over before the old one leaves. Several workers share them; what a worker was started with is part
// of its key, so that a change of version, settings or count replaces exactly those that it concerns.

import { createHash } from 'node:crypto';
import type { DataPlaneOptions } from './run-data-plane.ts';
import type { Clock } from '../lib/clock.ts';
import { Failure, isFailure } from '../lib/failure.ts';
import { replaceFileSync } from '../sys/durable-file.ts';
import type { KeeperClient } from '../sys/keeper-client.ts';
import type { ProcessRecord } from '../sys/keeper-protocol.ts';
import type { Log } from '../sys/log.ts';
import { join } from 'node:path';
import { mkdir } from 'node:fs/promises';
import { insidePort } from './inside-port.ts';
import type { DataPaths } from './paths.ts';
import { programArgv, programEnv, programVersion } from './program.ts';

const KEY_PREFIX = 'data-plane@';
const LISTENER = 'edge-http';
const TLS_LISTENER = 'edge-https';
const API_PROXY_LISTENER = 'apiproxy';
const STOP_MS = 10_000;

/** How Edges reach control: with a token on this machine, else over TLS as the machine that the file says it is. */
export type EdgeConnection =
  | { readonly url: string; readonly token: string }
  | { readonly urls: readonly string[]; readonly identityFile: string };

export interface DataPlaneProcessOptions {
  readonly keeper: KeeperClient;
  readonly paths: DataPaths;
  readonly clock: Clock;
  readonly log: Log;
  /** Edges of one platform are told apart by it. */
  readonly name: string;
  /** null: clients do not come here. */
  readonly edge: { readonly host: string; readonly port: number; readonly tlsPort: number } | null;
  readonly apiProxy: { readonly host: string; readonly port: number };
  readonly path: string;
  readonly home: string;
  readonly workers: number;
  readonly trusted: readonly string[];
  readonly proxied: readonly string[];
  readonly h2c: boolean;
  readonly near: readonly string[];
}

export interface HeldPorts {
  readonly http: number;
  readonly https: number;
  readonly apiProxy: number;
}

export interface DataPlaneProcess {
  /** Makes the keeper hold the ports, so that connections queue from now on. Resolves with them. Throws `port_taken`. */
  hold(): Promise<HeldPorts>;
  /** Makes sure that a data plane of this version serves on the held port. */
  serve(connection: EdgeConnection, machine: Machine): Promise<void>;
  /** Where control is from the next connection on. */
  readonly reconnect: (connection: EdgeConnection) => void;
  /** Called with the id of an Edge whose process has ended, however it did; the returned function stops that. */
  readonly onEnded: (listener: (edgeId: string) => void) => () => void;
  /** Ends it and gives the port back. */
  stop(): Promise<void>;
}

/** The one that it runs on. */
export interface Machine {
  readonly nodeId: string;
  /** JSON of a MachineIdentity, which may come and change later; absent: there are no other machines. */
  readonly identityFile?: string;
}

/** What the data-plane process reads at its start. */
export interface DataPlaneFile {
  readonly logFile: string;
  readonly options: DataPlaneOptions;
}

interface Worker {
  readonly worker: number;
  readonly key: string;
  /** Its options file. */
  readonly text: string;
}

export function createDataPlaneProcess(options: DataPlaneProcessOptions): DataPlaneProcess {
  const { keeper, paths, clock } = options;
  const edgeIdOf = (worker: number | string): string => `${options.name}-${worker}`;

  let before: readonly ProcessRecord[] = [];
  let ports: HeldPorts = { http: 0, https: 0, apiProxy: 0 };
  let moved = false;

  /** Also those that have ended and that the keeper is about to start again. */
  const known = async (): Promise<readonly ProcessRecord[]> =>
    (await keeper.request({ op: 'list' })).processes.filter((record) => record.key.startsWith(KEY_PREFIX));

  const listen = async (name: string, what: string, host: string, port: number, hint: string): Promise<number> => {
    const { listeners } = await keeper.request({ op: 'list' });
    const held = listeners.find((listener) => listener.name === name);
    if (held !== undefined && held.host === host && (held.port === port || port === 0)) return held.port;
    if (held !== undefined) await keeper.request({ op: 'unlisten', name });
    moved = true;
    try {
      return (await keeper.request({ op: 'listen', name, host, port, takeover: before.some(({ state }) => state === 'running') })).port;
    } catch (error) {
      if (!isFailure(error, 'port_taken')) throw error;
      throw new Failure('port_taken', {
        message: `${what} cannot listen: ${error.message}`,
        hint: `Stop that process, or choose another port with ${hint}.`,
        details: error.details,
      });
    }
  };

  const reconnect = (connection: EdgeConnection): void => replaceFileSync(paths.edgeConnection, `${JSON.stringify(connection)}\n`);

  const end = async (record: ProcessRecord, waitMs: number): Promise<void> => {
    await keeper.request({ op: 'retire', key: record.key });
    await keeper.request({ op: 'signal', key: record.key, signal: 'SIGTERM', group: false });
    const until = clock.monotonic() + waitMs;
    while (clock.monotonic() < until) {
      const now = await keeper.request({ op: 'get', key: record.key });
      if (now === null || now.state !== 'running') break;
      await clock.sleep(25);
    }
    if ((await keeper.request({ op: 'get', key: record.key }))?.state === 'running')
      await keeper.request({ op: 'signal', key: record.key, signal: 'SIGKILL', group: true });
    await keeper.request({ op: 'forget', key: record.key }).catch((error: unknown) => {
      if (!isFailure(error)) throw error;
      options.log.warn({ error, key: record.key }, 'an ended data plane could not be forgotten');
    });
  };

  const workerOf = (worker: number, machine: Machine): Worker => {
    const file: DataPlaneFile = {
      logFile: join(paths.logs, 'edge.log'),
      options: {
        edgeId: edgeIdOf(worker),
        version: programVersion,
        // In the order of `listeners` below.
        listen: options.edge === null ? [] : [{ fd: 4 }, { fd: 5, tls: true }],
        apiProxy: {
          listen: [{ fd: 3 }],
          callLog: { file: paths.callLog(worker), fileBytes: 16 * 1024 * 1024 },
          inside: { file: paths.containerCallers, port: insidePort() },
        },
        connectionFile: paths.edgeConnection,
        tableFile: paths.edgeTable,
        savesTable: worker === 0,
        accessLog: { file: paths.accessLog(worker), fileBytes: 16 * 1024 * 1024 },
        admin: { socketPath: paths.edgeSocket(worker) },
        drainMs: 30_000,
        trusted: options.trusted,
        proxied: options.proxied,
        h2c: options.h2c,
        ...(options.near.length === 0 ? {} : { near: options.near }),
        ...machine,
      },
    };
    const text = JSON.stringify(file);
    const digest = createHash('sha256').update(text).digest('hex').slice(0, 12);
    return {
      worker,
      text,
      key: `${KEY_PREFIX}${programVersion}:${options.edge?.host ?? ''}:${ports.http}:${ports.https}:${ports.apiProxy}:${digest}#${worker}`,
    };
  };

  const start = async ({ worker, text, key }: Worker): Promise<void> => {
    const optionsFile = paths.edgeOptions(worker);
    replaceFileSync(optionsFile, `${text}\n`);
    // A record of an ended one under this key would answer the spawn.
    await keeper.request({ op: 'forget', key }).catch(() => undefined);
    const folder = worker === 0 ? 'data-plane' : `data-plane-${worker}`;
    const recordFolder = join(paths.run, folder);
    await mkdir(recordFolder, { recursive: true, mode: 0o700 });
    await keeper.request({
      op: 'spawn',
      key,
      argv: programArgv('data-plane', optionsFile),
      env: programEnv(options.path, options.home),
      cwd: '/',
      user: null,
      cgroups: [],
      log: { folder: join(paths.logs, folder), bytes: 4 * 1024 * 1024 },
      recordFolder,
      listeners: [API_PROXY_LISTENER, ...(options.edge === null ? [] : [LISTENER, TLS_LISTENER])],
      restart: { minMs: 50, maxMs: 5000 },
    });
  };

  return {
    hold: async () => {
      before = await known();
      const { edge, apiProxy } = options;
      ports = {
        http: edge === null ? 0 : await listen(LISTENER, 'The Edge', edge.host, edge.port, '--edge-port (LIBRA_EDGE_PORT)'),
        https: edge === null ? 0 : await listen(TLS_LISTENER, 'The Edge', edge.host, edge.tlsPort, '--edge-tls-port (LIBRA_EDGE_TLS_PORT)'),
        apiProxy: await listen(API_PROXY_LISTENER, 'The API Proxy', apiProxy.host, apiProxy.port, '--apiproxy-port (LIBRA_APIPROXY_PORT)'),
      };
      return ports;
    },
    serve: async (connection, machine) => {
      reconnect(connection);
      const wanted = Array.from({ length: options.workers }, (_, worker) => workerOf(worker, machine));
      const isWanted = (record: ProcessRecord): boolean => wanted.some(({ key }) => key === record.key);
      // A keeper that came anew holds another socket for the same address: the old workers have to go, whatever their version.
      if (moved) for (const record of before.filter(isWanted)) await end(record, STOP_MS);
      const running = new Set(moved ? [] : before.filter(({ state }) => state === 'running').map(({ key }) => key));
      for (const worker of wanted) if (!running.has(worker.key)) await start(worker);
      // The new ones accept on the same socket by now or soon; the old ones finish what they have.
      for (const record of before)
        if (!isWanted(record))
          void end(record, 60_000).catch((error: unknown) => options.log.warn({ error }, 'an old data plane could not be ended'));
    },
    reconnect,
    onEnded: (listener) =>
      keeper.onEvent(({ record }) => {
        if (!record.key.startsWith(KEY_PREFIX) || record.state === 'running' || record.identity === null) return;
        listener(`${edgeIdOf(record.key.slice(record.key.lastIndexOf('#') + 1))}.${record.identity.pid}`);
      }),
    stop: async () => {
      await Promise.all((await known()).map((record) => end(record, STOP_MS)));
      const held = (await keeper.request({ op: 'list' })).listeners.map(({ name }) => name);
      for (const name of [LISTENER, TLS_LISTENER, API_PROXY_LISTENER])
        if (held.includes(name)) await keeper.request({ op: 'unlisten', name });
    },
  };
}
