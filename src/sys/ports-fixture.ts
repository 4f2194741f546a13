// Ports for servers that tests start as programs of their own, which cannot be told to take a free one and say which. A port that the
// kernel gave and that was closed again may be given to anybody before such a program binds it; these lie below the range that the kernel
// gives from (32768) and beside that of Instances (20000), and test processes that run at the same time begin at different places.

import { isPortFree } from './ports.ts';

const FIRST = 10_000;
const COUNT = 10_000;
/** More than one test process takes. */
const PER_PROCESS = 25;

let next = (process.pid * PER_PROCESS) % COUNT;

export async function freePort(): Promise<number> {
  for (let tries = 0; tries < COUNT; tries += 1) {
    const port = FIRST + next;
    next = (next + 1) % COUNT;
    if (await isPortFree(port)) return port;
  }
  throw new Error('no port is free');
}

export async function freePorts(count: number): Promise<readonly number[]> {
  const ports: number[] = [];
  while (ports.length < count) ports.push(await freePort());
  return ports;
}
