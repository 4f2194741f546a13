// Starts a program inside cgroups without a race: the spawning thread joins first, the child is born there, the thread goes back.

import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCgroupMounts } from './cgroup-mounts.ts';

/** v1 moves our main thread alone (its id is the pid); v2 moves the whole process for that moment. */
function enter(folder: string): void {
  const tasks = join(folder, 'tasks');
  writeFileSync(existsSync(tasks) ? tasks : join(folder, 'cgroup.procs'), String(process.pid));
}

/** Runs `start` (synchronous: it spawns) as a member of `folders`, then returns to where this process was. Throws what joining throws. */
export function startWithin<T>(folders: readonly string[], start: () => T): T {
  if (folders.length === 0) return start();
  const mounts = readCgroupMounts();
  const left: { readonly home: string; readonly root: string }[] = [];
  try {
    for (const folder of folders) {
      const mount = mounts.filter((each) => folder.startsWith(`${each.folder}/`)).sort((a, b) => b.folder.length - a.folder.length)[0];
      if (mount === undefined) throw new Error(`${folder} is in no mounted cgroup hierarchy`);
      enter(folder);
      left.push({ home: mount.home, root: mount.folder });
    }
    return start();
  } finally {
    for (const { home, root } of left) {
      try {
        enter(home);
      } catch {
        enter(root); // our old place was deleted; staying would mean to die with the program
      }
    }
  }
}
