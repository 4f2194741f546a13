// What an Entrypoint may ask of the container that it runs in. But for `host`, which an administrator has to grant, nothing here reaches
// beyond the container: that is what makes it every App's to ask for.

import type { HostAsk } from './host-powers.ts';

/** What a process may use at once, of one kind; −1: as much as it likes. */
export interface Ulimit {
  readonly soft: number;
  readonly hard: number;
}

export interface ContainerOptions {
  /** Its file system cannot be written to, but for a /tmp in memory, its volumes and its work folder. */
  readonly readOnly: boolean;
  /** That it has in spite of all being dropped, by their names without `CAP_`. */
  readonly capabilities: readonly string[];
  readonly ulimits: Readonly<Record<string, Ulimit>>;
  /** Of the kernel's settings those that a container has for itself. */
  readonly sysctls: Readonly<Record<string, string>>;
  /** Size of /dev/shm; null: Docker's own. */
  readonly sharedMemoryBytes: number | null;
  /** Absent: nothing of its machine. */
  readonly host?: HostAsk;
}

/** What programs need that begin as root and then change their user, own their files, or listen on a low port. */
export const SAFE_CAPABILITIES = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'NET_BIND_SERVICE',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT',
] as const;

/**
 * Those that bound something, each with what no kernel goes beyond; null: it may be without limit. What gives real-time or higher
 * priority is not among them: it would take cores from others.
 */
export const ULIMITS: ReadonlyMap<string, number | null> = new Map([
  ['core', null],
  ['cpu', null],
  ['data', null],
  ['fsize', null],
  ['memlock', null],
  ['msgqueue', 2 ** 30],
  ['nofile', 2 ** 20],
  ['nproc', 2 ** 22],
  ['sigpending', 2 ** 20],
  ['stack', null],
]);

/** All others are the machine's. */
const NAMESPACED: readonly RegExp[] = [
  /^kernel\.shm(?:all|max|mni|_rmid_forced)$/u,
  /^kernel\.msg(?:max|mnb|mni)$/u,
  /^kernel\.sem$/u,
  /^fs\.mqueue\.[a-z_]+$/u,
  /^net(?:\.[A-Za-z0-9_-]+)+$/u,
];

/** Whether a container has this setting of the kernel for itself. */
export const isNamespacedSysctl = (name: string): boolean => name.length <= 100 && NAMESPACED.some((form) => form.test(name));
