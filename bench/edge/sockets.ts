// What WebSockets that say nothing cost a proxy in memory.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { systemClock } from '../../src/lib/clock.ts';
import { LOAD_CORE, pinned, startProgram } from './program.ts';
import type { Program } from './program.ts';
import type { Proxy } from './proxies.ts';
import { descriptorLimit } from './proxies.ts';

const CHILD = join(import.meta.dirname, 'socket-child.ts');
/** Of a proxy, beside two for each WebSocket. */
const OTHER_DESCRIPTORS = 400;
const SETTLE_MS = 1_000;

export interface SocketCost {
  readonly sockets: number;
  /** On top of what the proxy took before. */
  readonly bytes: number;
}

/** The App that takes them. */
export function startSocketsApp(folder: string, port: number): Promise<Program> {
  return startProgram({
    name: 'sockets',
    argv: [process.execPath, CHILD, 'app', String(port)],
    core: LOAD_CORE,
    output: join(folder, 'sockets.log'),
    port,
  });
}

/** As many of the wanted ones as the descriptors of one process allow. */
export function possibleSockets(wanted: number): number {
  return Math.min(wanted, Math.floor((descriptorLimit() - OTHER_DESCRIPTORS) / 2));
}

/** Opens as many, rising, and looks after each step. */
export async function measureSockets({ name, program, plainPort }: Proxy, steps: readonly number[]): Promise<readonly SocketCost[]> {
  const [command = '', ...words] = pinned(LOAD_CORE, [process.execPath, CHILD, 'clients', String(plainPort)]);
  const clients = spawn(command, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(clients, 'exit');
  const lines = createInterface({ input: clients.stdout })[Symbol.asyncIterator]();
  try {
    await systemClock.sleep(SETTLE_MS);
    const before = program.pssBytes();
    const costs: SocketCost[] = [];
    let open = 0;
    for (const sockets of steps) {
      clients.stdin.write(`${sockets - open}\n`);
      const line = await lines.next();
      open = Number(line.value);
      if (open !== sockets) throw new Error(`${name} did not take ${sockets} WebSockets`);
      await systemClock.sleep(SETTLE_MS);
      costs.push({ sockets, bytes: program.pssBytes() - before });
    }
    return costs;
  } finally {
    clients.stdin.end();
    await exited;
  }
}
