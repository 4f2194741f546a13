// Processes of containers as this machine sees them. The engine may run on another one: then there is nothing to be seen.

import { readFileSync } from 'node:fs';
import { listListening } from '../../sys/listeners.ts';
import type { ListeningSocket } from '../../sys/listeners.ts';

/** The engine's own name server, in the network of every container. */
const NAME_SERVER = '127.0.0.11';

/** Whether a process of this machine is that container's. */
export function isOfContainer(pid: number, container: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(container);
  } catch {
    return false;
  }
}

/** What listens in the network of a container, by one of its processes; null where that cannot be seen. */
export function socketsOf(pid: number, container: string): readonly ListeningSocket[] | null {
  return isOfContainer(pid, container) ? listListening(pid).filter(({ address }) => address !== NAME_SERVER) : null;
}
