// The Docker driver: an attempt is a container, known by its name and labels. All state that counts is with the engine and in the log of the
// Instance, so this object may be made anew at any moment, and the engine may be restarted under it.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Clock } from '../../lib/clock.ts';
import { systemClock } from '../../lib/clock.ts';
import { Failure, isFailure, messageOf } from '../../lib/failure.ts';
import type { DriverInfo } from '../../model/documents.ts';
import { parseCpus } from '../../sys/cgroup.ts';
import { silentLog } from '../../sys/log.ts';
import type { Log } from '../../sys/log.ts';
import { readLog } from '../../sys/log-reader.ts';
import type { Driver, DriverHandle, RunSpec, RunState } from '../contract.ts';
import { diagnoseSockets, NO_PORT_HINT } from '../process/diagnose.ts';
import { preparePrivateFolders } from '../process/folders.ts';
import { createAppUsers } from '../process/users.ts';
import { buildImage } from './build.ts';
import { readFiles, writeFiles } from './copy.ts';
import type { EngineEndpoint } from './endpoint.ts';
import { createEngine } from './engine.ts';
import type { EngineFacts } from './engine.ts';
import { startExec } from './exec.ts';
import { keysOf, numberOf, textOf } from './fields.ts';
import { BUILT_LABEL, KEY_LABEL, parseHandle, PLATFORM_LABEL, toDriverHandle } from './handle.ts';
import type { DockerHandle } from './handle.ts';
import { createImageGarbage } from './image-garbage.ts';
import type { ImageSpace } from './image-garbage.ts';
import { createNetworks } from './networks.ts';
import { pumpOutput } from './output-pump.ts';
import { fetchFrom, fetchImage, registryLogins } from './pull.ts';
import { socketsOf } from './seen-process.ts';
import { createContainerStart, findContainer } from './start-container.ts';
import { readState } from './state.ts';

export interface DockerDriverOptions {
  readonly endpoint: EngineEndpoint;
  /** Of the agent; names the platform, too. */
  readonly dataFolder: string;
  /** All that librad keeps, which no container gets; default: the folder of the agent. */
  readonly ownFolder?: string;
  /** Range that subnets of containers are taken from; default 10.212.0.0/14. */
  readonly subnets?: string;
  /** File with logins for registries, as `docker login` writes it; null: none. */
  readonly loginFile?: string | null;
  /** So long after its making an image from a Dockerfile is kept that no container uses, seconds; default a day. */
  readonly keepBuiltS?: number;
  /** When images that nothing uses are deleted; null: never. Default: above 85 percent, until 80. */
  readonly imageSpace?: ImageSpace | null;
  readonly clock?: Clock;
  readonly log?: Log;
}

const SUBNETS = '10.212.0.0/14';
const KEEP_BUILT_S = 86_400;
const IMAGE_SPACE: ImageSpace = { high: 85, low: 80 };

/** Whoever has one of these is root on the machine. */
const ENGINE_SOCKETS = ['/run/docker.sock', '/run/containerd/containerd.sock', '/run/podman/podman.sock', '/run/crio/crio.sock'];

/** Names of `/info` for what a container is confined by. */
const LIMITS = { cpu: 'CpuCfsQuota', memory: 'MemoryLimit', processes: 'PidsLimit', cores: 'CPUSet' } as const;

interface Watched {
  readonly ended: Promise<RunState>;
  stop(): void;
}

function allowedCpus(): readonly number[] {
  return parseCpus(/^Cpus_allowed_list:\s+(\S+)$/mu.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '');
}

export async function createDockerDriver(options: DockerDriverOptions): Promise<Driver> {
  const { dataFolder, loginFile = null } = options;
  const clock = options.clock ?? systemClock;
  const log = options.log ?? silentLog;
  const platform = createHash('sha256').update(dataFolder).digest('hex').slice(0, 12);
  // A file that cannot be used is refused before anything starts.
  if (loginFile !== null) registryLogins(loginFile);
  const engine = createEngine(options.endpoint);
  const facts: EngineFacts | null = await engine.facts().catch((error: unknown) => {
    if (isFailure(error, 'unsupported')) throw error;
    log.warn({ error: messageOf(error) }, 'Docker does not answer yet');
    return null;
  });
  const users = createAppUsers(dataFolder);
  const cpus = allowedCpus();
  const cpusOf = (cores: readonly number[]): readonly number[] => cores.flatMap((core) => cpus[core] ?? []);
  const closing = new AbortController();
  const starting = new Map<string, Promise<DriverHandle>>();
  const watched = new Map<string, Watched>();
  const networks = createNetworks({ engine, platform, pool: options.subnets ?? SUBNETS, clock, log });
  const { imageSpace: space = IMAGE_SPACE } = options;
  const garbage = createImageGarbage({ engine, platform, space, clock, log });
  const { endpoint, ownFolder = dataFolder } = options;
  const ownPaths = [ownFolder, dataFolder, ...ENGINE_SOCKETS, ...(endpoint.kind === 'unix' ? [endpoint.path] : [])];
  const start = createContainerStart({ engine, networks, platform, ownPaths, userOf: (appId) => users.of(appId), cpusOf });

  const enforcement = (limit: keyof typeof LIMITS): string => {
    if (facts === null) return 'not known: Docker did not answer when librad started';
    return facts.knows.has(LIMITS[limit]) ? 'enforced' : `the kernel under Docker lacks ${LIMITS[limit]}`;
  };
  const limits: DriverInfo['limits'] = {
    cpu: enforcement('cpu'),
    memory: enforcement('memory'),
    user: 'enforced',
    disk: 'soft: measured now and then, not stopped by the kernel',
    cores: enforcement('cores'),
  };
  const notEnforced = (['cpu', 'memory', 'processes'] as const).flatMap((name) =>
    enforcement(name) === 'enforced' ? [] : [`${name} limit not enforced: ${enforcement(name)}`],
  );

  const watch = ({ container, log: place }: DockerHandle): Watched => {
    const known = watched.get(container);
    if (known !== undefined) return known;
    const stopping = new AbortController();
    const signal = AbortSignal.any([closing.signal, stopping.signal]);
    const ended = pumpOutput({ engine, container, ...place, clock, log, signal });
    ended.catch(() => undefined); // whoever waits is told
    const made: Watched = {
      ended,
      stop: () => {
        watched.delete(container);
        stopping.abort(new Failure('canceled', { message: 'The container was removed.' }));
      },
    };
    watched.set(container, made);
    return made;
  };

  const inspect = async (handle: DockerHandle): Promise<RunState> => {
    const answer = await findContainer(engine, handle.container);
    if (answer === null) return { state: 'unknown', message: 'Its container is gone from Docker.' };
    const state = readState(answer);
    const watching = watch(handle);
    // All of the output is there when an end is told.
    return state.state === 'running' ? state : watching.ended;
  };

  const wait = async (handle: DockerHandle, signal: AbortSignal): Promise<RunState> => {
    const either = AbortSignal.any([signal, closing.signal]);
    either.throwIfAborted();
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(either.reason);
    either.addEventListener('abort', onAbort, { once: true });
    try {
      return await Promise.race([watch(handle).ended, promise]);
    } finally {
      either.removeEventListener('abort', onAbort);
    }
  };

  const ensure = async (spec: RunSpec): Promise<DriverHandle> => {
    const { container: part } = spec;
    if (part === undefined) {
      throw new Failure('start_failed', {
        message: 'There is no image to run this folder in.',
        hint: 'Name it in the manifest: `build: { base: node:24-slim }`.',
        details: { reason: 'driver_error' },
      });
    }
    const container = await start(spec, part);
    const handle: DockerHandle = { driver: 'docker', key: spec.key, container, log: { folder: spec.logFolder, bytes: spec.logBytes } };
    watch(handle);
    return toDriverHandle(handle);
  };

  const stop = async (handle: DockerHandle, signal: string, timeoutMs: number): Promise<RunState> => {
    const { ended } = watch(handle);
    if (timeoutMs > 0 && (await engine.killContainer(handle.container, signal))) {
      const over = new AbortController();
      const deadline = clock.sleep(timeoutMs, over.signal).catch(() => null);
      const end = await Promise.race([ended.catch(() => null), deadline]);
      over.abort(new Error('it has ended'));
      if (end !== null && end !== undefined) return end;
    }
    await kill(handle.container);
    return ended;
  };

  /** Hundreds of processes under a small share of a core take minutes to die: to end, they get what they need. */
  const kill = async (container: string): Promise<void> => {
    await engine.updateContainer(container, { NanoCpus: cpus.length * 1e9 }).catch(() => undefined);
    await engine.killContainer(container, 'SIGKILL');
  };

  const remove = async (container: string): Promise<void> => {
    await kill(container);
    await engine.removeContainer(container);
    watched.get(container)?.stop();
    networks.pruneSoon();
  };

  return {
    info: { name: 'docker', artifacts: ['image', 'bundle'], containers: true, limits },
    hasOwnPorts: true,
    containerNetworks: async () => {
      const [all, containers] = await Promise.all([networks.list(), engine.listContainers([`${PLATFORM_LABEL}=${platform}`])]);
      return all.map(({ name, gateway }) => ({
        gateway,
        keys: Object.fromEntries(
          containers.flatMap(({ addresses, labels }) => {
            const [address, key] = [addresses[name], labels[KEY_LABEL]];
            return address === undefined || key === undefined ? [] : [[address, key]];
          }),
        ),
      }));
    },
    fetchImage: async (reference, signal, from) => {
      const present = await engine.image(reference);
      if (present !== null) return garbage.uses(reference, present);
      if (from !== undefined) await fetchFrom(engine, reference, from, signal);
      else await fetchImage(engine, reference, loginFile, signal);
      await garbage.took(reference);
    },
    buildImage: async (context, order, signal) => {
      const labels = { [BUILT_LABEL]: 'true' };
      const logins = loginFile === null ? null : registryLogins(loginFile);
      await networks.using(order.group, (network) =>
        buildImage(engine, clock, { order, context, network: network.name, labels, logins }, signal),
      );
      await garbage.took(order.reference);
    },
    saveImage: (reference, signal) => engine.saveImage(reference, signal),
    ensure: (spec) => {
      const known = starting.get(spec.key);
      if (known !== undefined) return known;
      const going = ensure(spec).finally(() => starting.delete(spec.key));
      starting.set(spec.key, going);
      return going;
    },
    inspect: (handle) => inspect(parseHandle(handle)),
    wait: (handle, signal) => wait(parseHandle(handle), signal),
    stop: (handle, { signal, timeoutMs }) => stop(parseHandle(handle), signal, timeoutMs),
    remove: (handle) => remove(parseHandle(handle).container),
    logs: (logFolder, reading) => readLog(logFolder, { ...reading, clock }),
    diagnose: async (handle, { container: part }) => {
      const { container } = parseHandle(handle);
      const answer = await findContainer(engine, container);
      const pid = numberOf(answer, 'State', 'Pid') ?? 0;
      // In the network of the machine all of its sockets are seen, and whose they are is not.
      const isShared = part?.options?.host?.network === true;
      const sockets = pid === 0 || isShared ? null : socketsOf(pid, container);
      if (part === undefined || part.port === null || sockets === null) return null;
      const [network = ''] = keysOf(answer, 'NetworkSettings', 'Networks');
      const address = textOf(answer, 'NetworkSettings', 'Networks', network, 'IPAddress') ?? '0.0.0.0';
      const listens = diagnoseSockets(sockets, part.port, address);
      if (listens !== 'nothing') return listens;
      return {
        code: 'never_listened',
        message: `Nothing in its container listens on any TCP port; $PORT is ${part.port}.`,
        hint: NO_PORT_HINT,
      };
    },
    exec: async (handle, { argv, env, terminal }) => {
      const { container } = parseHandle(handle);
      return startExec(engine, clock, container, { argv, env, terminal: terminal ?? null });
    },
    readFiles: (handle, place) => readFiles(engine, parseHandle(handle).container, place),
    writeFiles: (handle, place, tar, how) => writeFiles(engine, parseHandle(handle).container, place, tar, how),
    confine: async (handle, cores) => engine.updateContainer(parseHandle(handle).container, { CpusetCpus: cpusOf(cores).join(',') }),
    usage: async (handle) => engine.usage(parseHandle(handle).container),
    writtenBytes: async (handle) => engine.writtenBytes(parseHandle(handle).container),
    sweep: async (knownKeys) => {
      const ended: string[] = [];
      for (const { id, labels } of await engine.listContainers([`${PLATFORM_LABEL}=${platform}`])) {
        const key = labels[KEY_LABEL] ?? id;
        if (knownKeys.has(key)) continue;
        log.info({ key }, 'ending a container that nobody knows');
        await remove(id);
        ended.push(key);
      }
      await networks.pruneNow();
      return ended;
    },
    collect: async () => {
      await engine.pruneImages(BUILT_LABEL, options.keepBuiltS ?? KEEP_BUILT_S);
      await garbage.collect();
    },
    notEnforced: () => notEnforced,
    prepareFolders: (appId, folders) => preparePrivateFolders(dataFolder, folders, users.of(appId)),
    close: async () => {
      closing.abort(new Failure('canceled', { message: 'The Docker driver was closed.' }));
      networks.close();
      await Promise.allSettled([...watched.values()].map(({ ended }) => ended));
      engine.close();
    },
  };
}
