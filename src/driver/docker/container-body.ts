// From a RunSpec to what the engine is asked for. Everything that a container must not do is decided here, in one place.

import { isAbsolute, join } from 'node:path/posix';
import { Failure } from '../../lib/failure.ts';
import type { ContainerPart, Mount, RunSpec } from '../contract.ts';
import type { ImageFacts } from './engine.ts';
import type { HostAccess } from './host-access.ts';
import type { Network } from './networks.ts';
import { KEY_LABEL, PLATFORM_LABEL } from './handle.ts';

/** As for processes: enough for every honest program, and an end for a fork bomb. */
const MAX_PROCESSES = 4096;
const CPU_SHARES = 1024;
/** Least that the engine takes. */
const LEAST_CPU_SHARES = 2;
/** What Docker gives to programs of an image that has none. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** The engine's own log is a buffer on the way to the log of the Instance: twice its size in pieces, of which all but one are compressed. */
const LOG_FILES = 9;
const LOG_PIECES = 4;
const LEAST_LOG_BYTES = 1024 * 1024;

export interface ContainerInput {
  readonly spec: RunSpec;
  readonly part: ContainerPart;
  readonly image: ImageFacts;
  readonly platform: string;
  readonly access: HostAccess;
  readonly network: Network;
  /** `uid:gid` for what is no image of its own; null: as the image says. */
  readonly user: string | null;
  /** Numbers as the kernel has them; null: all. */
  readonly cpus: readonly number[] | null;
}

/** Where the folders and files of the agent appear inside; relative paths count from the image's work folder. */
export function mountsOf(part: ContainerPart, image: ImageFacts): readonly Mount[] {
  return part.mounts.map((mount) => {
    const { target } = mount;
    const inside = isAbsolute(target) ? join(target) : join('/', image.workingFolder, target);
    if (inside === '/')
      throw new Failure('invalid_input', {
        message: `The path ${target} would cover the whole image.`,
        hint: 'Give the volume or secret file a path below /.',
      });
    return { ...mount, target: inside };
  });
}

/** Where the first word of a command is looked for inside: what the App's own packages bring comes first, as it does for npm scripts. */
export function searchPath(spec: RunSpec, part: ContainerPart, image: ImageFacts): string {
  const bins = part.workFolder === null ? '' : `${part.workFolder}/node_modules/.bin:`;
  return spec.env['PATH'] ?? `${bins}${image.path ?? PATH}`;
}

/** The whole environment; what comes as a folder gets its PATH, too, an image has its own. */
function environment(spec: RunSpec, part: ContainerPart, image: ImageFacts): readonly string[] {
  const own = part.workFolder === null ? {} : { PATH: searchPath(spec, part, image) };
  const places = mountsOf(part, image).flatMap(({ variable, target }) => (variable === undefined ? [] : [[variable, target] as const]));
  return Object.entries({ ...own, ...spec.env, ...Object.fromEntries(places) }).map(([name, value]) => `${name}=${value}`);
}

const bindOf = ({ source, target, readOnly }: Mount, isAlone: boolean): object => ({
  Type: 'bind',
  Source: source,
  Target: target,
  ReadOnly: readOnly,
  BindOptions: { Propagation: 'rprivate', NonRecursive: isAlone },
});

/** What the App asked of its container. What is kept in memory counts against the limit of that. */
function optionsOf({ options }: ContainerPart, mounts: readonly Mount[], memoryBytes: number): object {
  if (options === undefined) return {};
  const { readOnly, capabilities, ulimits, sysctls, sharedMemoryBytes } = options;
  const needsTmp = readOnly && !mounts.some(({ target }) => target === '/tmp');
  return {
    ReadonlyRootfs: readOnly,
    ...(needsTmp ? { Tmpfs: { '/tmp': `rw,exec,nosuid,nodev,mode=1777,size=${memoryBytes}` } } : {}),
    CapAdd: capabilities,
    Ulimits: Object.entries(ulimits).map(([name, { soft, hard }]) => ({ Name: name, Soft: soft, Hard: hard })),
    Sysctls: sysctls,
    ...(sharedMemoryBytes === null ? {} : { ShmSize: sharedMemoryBytes }),
  };
}

/** Body of `POST /containers/create`. */
export function containerBody({ spec, part, image, platform, access, network, user, cpus }: ContainerInput): object {
  const { cpu, memory } = spec.resources;
  const port = part.port === null || access.network ? null : `${part.port}/tcp`;
  const mounts = mountsOf(part, image);
  return {
    Image: image.id,
    // The words are the whole command: an entrypoint of the image is not put in front of them.
    ...(spec.argv.length === 0 ? {} : { Entrypoint: spec.argv, Cmd: [] }),
    Env: environment(spec, part, image),
    ...(part.workFolder === null ? {} : { WorkingDir: part.workFolder }),
    ...(user === null ? {} : { User: user }),
    Labels: { [PLATFORM_LABEL]: platform, [KEY_LABEL]: spec.key },
    ...(port === null ? {} : { ExposedPorts: { [port]: {} } }),
    // The agent looks after health itself.
    Healthcheck: { Test: ['NONE'] },
    AttachStdin: false,
    OpenStdin: false,
    Tty: false,
    HostConfig: {
      Init: true,
      ...(access.privileged ? { Privileged: true } : { Privileged: false, CapDrop: ['ALL'], SecurityOpt: ['no-new-privileges'] }),
      ...optionsOf(part, [...mounts, ...access.folders], memory.limitBytes),
      Devices: access.devices.map(({ path, target }) => ({ PathOnHost: path, PathInContainer: target, CgroupPermissions: 'rw' })),
      RestartPolicy: { Name: 'no' },
      NetworkMode: access.network ? 'host' : network.name,
      ...(access.network ? {} : { ExtraHosts: (part.machineNames ?? []).map((name) => `${name}:${network.gateway}`) }),
      ...(port === null || spec.port === null ? {} : { PortBindings: { [port]: [{ HostIp: part.address, HostPort: String(spec.port) }] } }),
      Mounts: [
        ...mounts.map((mount) => bindOf(mount, false)),
        // What is mounted below would stay writable.
        ...access.folders.map((mount) => bindOf(mount, mount.readOnly)),
      ],
      NanoCpus: Math.round(cpu.limit * 1e9),
      CpuShares: Math.max(LEAST_CPU_SHARES, Math.round(cpu.request * CPU_SHARES)),
      ...(cpus === null ? {} : { CpusetCpus: cpus.join(',') }),
      Memory: memory.limitBytes,
      // No swap beyond it.
      MemorySwap: memory.limitBytes,
      PidsLimit: MAX_PROCESSES,
      LogConfig: {
        Type: 'json-file',
        Config: {
          'max-size': String(Math.max(LEAST_LOG_BYTES, Math.floor(spec.logBytes / LOG_PIECES))),
          'max-file': String(LOG_FILES),
          compress: 'true',
        },
      },
    },
  };
}
