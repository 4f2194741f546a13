// A program that is measured from outside: on a core of its own, its CPU and memory read with those of all its children. What ends here
// is only what was started here.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { systemClock } from '../../src/lib/clock.ts';

/** A Linux clock tick: USER_HZ, 100 on every architecture that we run on. */
const TICK_MS = 10;
const START_MS = 20_000;

/** Everything that makes load has one core, the proxy under test the other: where there is only one core they share it. */
export const LOAD_CORE = 0;
export const PROXY_CORE = 1;

export interface Program {
  readonly name: string;
  readonly pid: number;
  /** User and system time so far of all its processes. */
  cpuMs(): number;
  /** Proportional set size of all its processes. */
  pssBytes(): number;
  stop(): Promise<void>;
}

export interface ProgramOptions {
  readonly name: string;
  readonly argv: readonly string[];
  readonly core: number;
  readonly env?: Readonly<Record<string, string>>;
  /** Gets what it says on both streams. */
  readonly output: string;
  /** Listens when the program serves. */
  readonly port: number;
}

/** The command on one core. */
export function pinned(core: number, argv: readonly string[]): readonly string[] {
  return ['taskset', '-c', String(core), ...argv];
}

/** Starts it and waits until its port takes connections. Throws with its last words where it does not come to that. */
export async function startProgram(options: ProgramOptions): Promise<Program> {
  const { name, core, port, output } = options;
  const file = openSync(output, 'a');
  const [command = '', ...words] = pinned(core, options.argv);
  const child = spawn(command, words, { stdio: ['ignore', file, file], env: { ...process.env, ...options.env } });
  closeSync(file);
  let ended: string | null = null;
  child.once('error', (error) => (ended = error.message));
  child.once('exit', (code, signal) => (ended ??= `exit ${code ?? signal}`));
  const untilMs = systemClock.monotonic() + START_MS;
  const exited = once(child, 'exit').catch(() => undefined);
  while (!(await takes(port))) {
    if (ended === null && systemClock.monotonic() < untilMs) {
      await systemClock.sleep(20);
      continue;
    }
    child.kill('SIGKILL');
    throw new Error(`${name} does not serve (${ended ?? 'it takes too long'}): ${readFileSync(output, 'utf8').slice(-1_000)}`);
  }
  const { pid = 0 } = child;
  return {
    name,
    pid,
    cpuMs: () => sum(treeOf(pid), cpuMsOf),
    pssBytes: () => sum(treeOf(pid), pssBytesOf),
    stop: async () => {
      const all = treeOf(pid);
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      const inTime = await Promise.race([exited.then(() => true), systemClock.sleep(3_000).then(() => false)]);
      if (inTime) return;
      for (const one of all) killHard(one);
      await exited;
    },
  };
}

function killHard(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

async function takes(port: number): Promise<boolean> {
  const { connect } = await import('node:net');
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Several at once, so that no two are the same. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const probes = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(probes.map((probe) => once(probe, 'listening')));
  const ports = probes.map((probe) => {
    const address = probe.address();
    if (address === null || typeof address === 'string') throw new Error('a listener has no port');
    return address.port;
  });
  await Promise.all(probes.map((probe) => once(probe.close(), 'close')));
  return ports;
}

function treeOf(pid: number): readonly number[] {
  const children = read(`/proc/${pid}/task/${pid}/children`)
    .split(' ')
    .filter((word) => word.trim() !== '')
    .map(Number);
  return [pid, ...children.flatMap(treeOf)];
}

function cpuMsOf(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * TICK_MS;
}

function pssBytesOf(pid: number): number {
  return Number(/^Pss:\s+(\d+) kB/mu.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0) * 1024;
}

/** Milliseconds for which a core has been busy so far, with whatever. */
export function coreBusyMs(core: number): number {
  const line = new RegExp(`^cpu${core} (.*)$`, 'mu').exec(read('/proc/stat'))?.[1] ?? '';
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line.split(' ').map(Number);
  return (user + nice + system + irq + softirq + steal) * TICK_MS;
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    // It has ended meanwhile.
    return '';
  }
}

function sum(pids: readonly number[], of: (pid: number) => number): number {
  return pids.reduce((total, pid) => total + of(pid), 0);
}
