// Which cgroup hierarchies are mounted where, and where this process is in each (cgroups(7), proc_pid_cgroup(5)).

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface CgroupMount {
  readonly version: 1 | 2;
  readonly folder: string;
  /** v1: the controllers of the hierarchy. v2: empty, they are listed in files. */
  readonly controllers: readonly string[];
  /** Our own place in it. */
  readonly home: string;
}

/** `mountinfo` and `membership` are the texts of /proc/self/mountinfo and /proc/self/cgroup. */
export function parseCgroupMounts(mountinfo: string, membership: string): CgroupMount[] {
  const memberships = membership
    .trim()
    .split('\n')
    .map((line) => line.split(':'));
  const mounts: CgroupMount[] = [];
  for (const line of mountinfo.split('\n')) {
    const [place, type] = line.split(' - ');
    const [, , , root, folder] = place?.split(' ') ?? [];
    const [fileSystem, , options] = type?.split(' ') ?? [];
    if (root === undefined || folder === undefined) continue;
    if (fileSystem !== 'cgroup' && fileSystem !== 'cgroup2') continue;
    const version = fileSystem === 'cgroup' ? 1 : 2;
    const words = new Set((options ?? '').split(','));
    const own = memberships.find(([, names]) =>
      version === 2 ? names === '' : (names ?? '').split(',').some((name) => name !== '' && words.has(name)),
    );
    const path = own?.slice(2).join(':') ?? '/';
    const inside = root !== '/' && path.startsWith(root) ? path.slice(root.length) : path;
    const controllers = version === 1 ? (own?.[1] ?? '').split(',') : [];
    mounts.push({ version, folder, controllers, home: join(folder, inside) });
  }
  return mounts;
}

export function readCgroupMounts(): CgroupMount[] {
  try {
    return parseCgroupMounts(readFileSync('/proc/self/mountinfo', 'utf8'), readFileSync('/proc/self/cgroup', 'utf8'));
  } catch {
    return []; // no /proc, no cgroups
  }
}
