// Limits and reliable killing through cgroups, version 1 or 2 behind the same functions. What this machine does not let us enforce is
// said in words, per limit; nothing here pretends. A group is a list of folders: one per v1 hierarchy, or one of v2.

import { accessSync, constants, existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { messageOf } from '../lib/failure.ts';
import { readCgroupMounts } from './cgroup-mounts.ts';
import type { CgroupMount } from './cgroup-mounts.ts';

export interface CgroupLimits {
  /** Cores. */
  readonly cpu: number;
  readonly memoryBytes: number;
  readonly processes: number;
  /** CPUs that it may run on; absent: all that there are. */
  readonly cpus?: readonly number[];
}

export interface CgroupHost {
  readonly version: 1 | 2 | null;
  /** `enforced`, or why not. */
  readonly enforcement: {
    readonly cpu: string;
    readonly memory: string;
    readonly processes: string;
    readonly kill: string;
    readonly cpus: string;
  };
  /** Numbers of the CPUs that groups may run on; empty where that cannot be enforced. */
  readonly cpus: readonly number[];
  /** Makes the group with its limits; returns the folders to be joined. Throws when a limit that is said to be enforced cannot be set. */
  create(name: string, limits: CgroupLimits): string[];
  /** Names of the groups that exist. */
  list(): string[];
  folders(name: string): string[];
  /** Removes the platform's own folders where no group is left in them. */
  release(): void;
}

const CONTROLLERS = ['memory', 'cpu', 'cpuacct', 'pids', 'freezer', 'cpuset'] as const;
type Controller = (typeof CONTROLLERS)[number];

const CPU_PERIOD_US = 100_000;
/** The kernel accounts the spawning keeper's own pages here for a moment; less would kill it. */
const LEAST_MEMORY_BYTES = 16 * 1024 * 1024;

function writeText(folder: string, file: string, text: string): void {
  writeFileSync(join(folder, file), text);
}

function readText(folder: string, file: string): string | null {
  try {
    return readFileSync(join(folder, file), 'utf8').trim();
  } catch {
    return null;
  }
}

const has = (folder: string, file: string): boolean => existsSync(join(folder, file));

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function subfolders(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name);
  } catch {
    return [];
  }
}

function refuse(reason: string): CgroupHost {
  return {
    version: null,
    enforcement: { cpu: reason, memory: reason, processes: reason, kill: reason, cpus: reason },
    cpus: [],
    create: () => [],
    list: () => [],
    folders: () => [],
    release: () => undefined,
  };
}

function createV1(mounts: readonly CgroupMount[], platform: string): CgroupHost {
  const parents = new Map<Controller, string>();
  const why: Record<Controller, string> = { memory: '', cpu: '', cpuacct: '', pids: '', freezer: '', cpuset: '' };
  for (const controller of CONTROLLERS) {
    const mount = mounts.find((each) => each.version === 1 && each.controllers.includes(controller));
    if (mount === undefined) {
      why[controller] = `the kernel offers no ${controller} cgroup`;
      continue;
    }
    const parent = join(mount.folder, 'libra', platform);
    try {
      mkdirSync(parent, { recursive: true });
      if (controller === 'cpuset') for (const folder of [dirname(parent), parent]) inheritCpus(folder);
      parents.set(controller, parent);
    } catch (error) {
      why[controller] = `no writable ${controller} cgroup (${messageOf(error).split(',')[0] ?? ''})`;
    }
  }
  const say = (controller: Controller): string => (parents.has(controller) ? 'enforced' : why[controller]);
  const folders = (name: string): string[] => [...new Set([...parents.values()].map((parent) => join(parent, name)))];
  return {
    version: parents.size === 0 ? null : 1,
    enforcement: { cpu: say('cpu'), memory: say('memory'), processes: say('pids'), kill: say('freezer'), cpus: say('cpuset') },
    cpus: parseCpus(readText(parents.get('cpuset') ?? '', 'cpuset.cpus') ?? ''),
    folders,
    release: () => void removeCgroup([...parents.values()]),
    list: () => [...new Set([...parents.values()].flatMap(subfolders))],
    create: (name, limits) => {
      const made = folders(name);
      for (const folder of made) {
        mkdirSync(folder, { recursive: true });
        if (has(folder, 'memory.limit_in_bytes')) setMemoryV1(folder, Math.max(LEAST_MEMORY_BYTES, limits.memoryBytes));
        if (has(folder, 'cpu.cfs_quota_us')) {
          writeText(folder, 'cpu.cfs_period_us', String(CPU_PERIOD_US));
          writeText(folder, 'cpu.cfs_quota_us', String(Math.max(1000, Math.round(limits.cpu * CPU_PERIOD_US))));
        }
        if (has(folder, 'pids.max')) writeText(folder, 'pids.max', String(limits.processes));
        if (has(folder, 'cpuset.cpus')) inheritCpus(folder);
      }
      if (limits.cpus !== undefined) confineCgroup(made, limits.cpus);
      return made;
    },
  };
}

/** A group of version 1 has no CPUs and no memory before it is given some, and nothing can join it. */
function inheritCpus(folder: string): void {
  for (const file of ['cpuset.mems', 'cpuset.cpus'])
    if (readText(folder, file) === '') writeText(folder, file, readText(dirname(folder), file) ?? '');
}

/** `0-2,5` as numbers. */
export function parseCpus(text: string): readonly number[] {
  return text
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [from = 0, to = from] = part.split('-').map(Number);
      return Array.from({ length: to - from + 1 }, (_unused, index) => from + index);
    });
}

/** Lets the group run on these CPUs alone, from now on. Throws what the kernel refuses with. */
export function confineCgroup(folders: readonly string[], cpus: readonly number[]): void {
  for (const folder of folders) if (has(folder, 'cpuset.cpus')) writeText(folder, 'cpuset.cpus', cpus.join(','));
}

/** Memory and swap must be raised and lowered in the right order; the swap file is absent where swap is not accounted. */
function setMemoryV1(folder: string, bytes: number): void {
  const swap = 'memory.memsw.limit_in_bytes';
  if (has(folder, swap)) writeText(folder, swap, '-1');
  writeText(folder, 'memory.limit_in_bytes', String(bytes));
  if (has(folder, swap)) writeText(folder, swap, String(bytes));
}

/** The highest folder on our own path that we may manage: the mount itself as root, a delegated slice otherwise. */
function delegatedV2(mount: CgroupMount): string | null {
  let found: string | null = null;
  for (let folder = mount.home; folder.startsWith(mount.folder); folder = dirname(folder)) {
    if (isWritable(folder) && isWritable(join(folder, 'cgroup.procs')) && isWritable(join(folder, 'cgroup.subtree_control')))
      found = folder;
  }
  return found;
}

function createV2(mount: CgroupMount, platform: string): CgroupHost {
  const top = delegatedV2(mount);
  if (top === null) return refuse(`no writable cgroup below ${mount.folder}`);
  const wanted = ['memory', 'cpu', 'pids', 'cpuset'] as const;
  const why: Record<string, string> = {};
  const parent = join(top, 'libra', platform);
  try {
    mkdirSync(parent, { recursive: true });
  } catch (error) {
    return refuse(`no writable cgroup (${messageOf(error).split(',')[0] ?? ''})`);
  }
  // Each level must pass a controller on to the next.
  for (const controller of wanted) {
    for (const folder of [top, join(top, 'libra'), parent]) {
      if (why[controller] !== undefined) break;
      if (readText(folder, 'cgroup.controllers')?.split(' ').includes(controller) !== true) {
        why[controller] = `the ${controller} controller is not available in ${folder}`;
        break;
      }
      try {
        if (readText(folder, 'cgroup.subtree_control')?.split(' ').includes(controller) === true) continue;
        writeText(folder, 'cgroup.subtree_control', `+${controller}`);
      } catch (error) {
        why[controller] = `the ${controller} controller cannot be enabled in ${folder} (${messageOf(error).split(',')[0] ?? ''})`;
      }
    }
  }
  const folders = (name: string): string[] => [join(parent, name)];
  return {
    version: 2,
    enforcement: {
      cpu: why['cpu'] ?? 'enforced',
      memory: why['memory'] ?? 'enforced',
      processes: why['pids'] ?? 'enforced',
      kill: 'enforced',
      cpus: why['cpuset'] ?? 'enforced',
    },
    cpus: why['cpuset'] === undefined ? parseCpus(readText(parent, 'cpuset.cpus.effective') ?? '') : [],
    folders,
    release: () => void removeCgroup([parent]),
    list: () => subfolders(parent),
    create: (name, limits) => {
      const folder = join(parent, name);
      mkdirSync(folder, { recursive: true });
      if (why['memory'] === undefined) {
        writeText(folder, 'memory.max', String(Math.max(LEAST_MEMORY_BYTES, limits.memoryBytes)));
        if (has(folder, 'memory.swap.max')) writeText(folder, 'memory.swap.max', '0');
      }
      if (why['cpu'] === undefined) {
        writeText(folder, 'cpu.max', `${Math.max(1000, Math.round(limits.cpu * CPU_PERIOD_US))} ${CPU_PERIOD_US}`);
      }
      if (why['pids'] === undefined) writeText(folder, 'pids.max', String(limits.processes));
      if (why['cpuset'] === undefined && limits.cpus !== undefined) confineCgroup([folder], limits.cpus);
      return [folder];
    },
  };
}

/** @param platform names this platform among others on the machine: groups live in `libra/<platform>/` */
export function detectCgroups(platform: string, mounts: readonly CgroupMount[] = readCgroupMounts()): CgroupHost {
  const v1 = mounts.some((mount) => mount.version === 1 && mount.controllers.includes('memory'));
  if (v1) return createV1(mounts, platform);
  const v2 = mounts.find((mount) => mount.version === 2);
  return v2 === undefined ? refuse('no cgroup hierarchy is mounted') : createV2(v2, platform);
}

function membersOf(folder: string): number[] {
  return (readText(folder, 'cgroup.procs') ?? '')
    .split('\n')
    .filter((line) => line !== '')
    .map(Number);
}

/** Processes in the group. */
export function cgroupPids(folders: readonly string[]): number[] {
  return [...new Set(folders.flatMap(membersOf))];
}

function killFrozenV1(folder: string): void {
  // Frozen, a group cannot fork away from us; it dies when it thaws.
  writeText(folder, 'freezer.state', 'FROZEN');
  try {
    for (const pid of membersOf(folder)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended before.
      }
    }
  } finally {
    writeText(folder, 'freezer.state', 'THAWED');
  }
}

/** Sends SIGKILL to all of the group at once. False where the group cannot do that: kill by pids instead. */
export function killCgroup(folders: readonly string[]): boolean {
  for (const folder of folders) {
    if (has(folder, 'cgroup.kill')) {
      writeText(folder, 'cgroup.kill', '1');
      return true;
    }
    if (has(folder, 'freezer.state')) {
      killFrozenV1(folder);
      return true;
    }
  }
  return false;
}

/** How often the kernel killed a process of the group for want of memory; null where the group is gone or does not count. */
export function outOfMemoryKills(folders: readonly string[]): number | null {
  for (const folder of folders) {
    const text = readText(folder, 'memory.oom_control') ?? readText(folder, 'memory.events');
    const count = text === null ? undefined : /^oom_kill (\d+)$/m.exec(text)?.[1];
    if (count !== undefined) return Number(count);
  }
  return null;
}

export interface CgroupUsage {
  readonly cpuSeconds: number | null;
  readonly memoryBytes: number | null;
  readonly processes: number | null;
}

const fieldOf = (text: string | null, name: string): number => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text ?? '')?.[1] ?? 0);

/** What the group uses. Memory is without page cache that can be dropped at once. */
export function cgroupUsage(folders: readonly string[]): CgroupUsage {
  let cpuSeconds: number | null = null;
  let memoryBytes: number | null = null;
  let processes: number | null = null;
  for (const folder of folders) {
    const cpuV1 = readText(folder, 'cpuacct.usage');
    if (cpuV1 !== null) cpuSeconds = Number(cpuV1) / 1e9;
    const cpuV2 = has(folder, 'cpuacct.usage') || has(folder, 'tasks') ? null : readText(folder, 'cpu.stat');
    if (cpuV2 !== null) cpuSeconds = fieldOf(cpuV2, 'usage_usec') / 1e6;
    const memory = readText(folder, 'memory.usage_in_bytes') ?? readText(folder, 'memory.current');
    if (memory !== null) {
      const stat = readText(folder, 'memory.stat');
      const idle = fieldOf(stat, 'total_inactive_file') || fieldOf(stat, 'inactive_file');
      memoryBytes = Math.max(0, Number(memory) - idle);
    }
    if (has(folder, 'cgroup.procs')) processes = Math.max(processes ?? 0, membersOf(folder).length);
  }
  return { cpuSeconds, memoryBytes, processes };
}

/** Removes the group's folders. False while something still runs in one of them. */
export function removeCgroup(folders: readonly string[]): boolean {
  let gone = true;
  for (const folder of folders) {
    try {
      rmdirSync(folder);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) gone = false;
    }
  }
  return gone;
}
