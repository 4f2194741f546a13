// Who a process is beyond its number: boot id, pid and start time. A pid alone is never trusted, because pids are used again.

import { readFileSync, readdirSync } from 'node:fs';
import type { ProcessIdentity } from './keeper-protocol.ts';

export interface ProcessStat {
  /** One letter; `Z` and `X` are dead. */
  readonly state: string;
  readonly parentPid: number;
  readonly groupId: number;
  readonly sessionId: number;
  readonly startTicks: string;
  /** User and system time in clock ticks (100 per second on Linux). */
  readonly cpuTicks: number;
  readonly residentPages: number;
  readonly name: string;
}

let knownBootId: string | null = null;

/** The id of this boot of the machine; empty where the kernel does not tell. */
export function currentBootId(): string {
  if (knownBootId === null) {
    try {
      knownBootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    } catch {
      knownBootId = '';
    }
  }
  return knownBootId;
}

/** What /proc/<pid>/stat says (proc(5)); null when there is no such process. */
export function readProcessStat(pid: number): ProcessStat | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return null;
  }
  // The name is in parentheses and may itself hold spaces and parentheses.
  const open = text.indexOf('(');
  const close = text.lastIndexOf(')');
  const fields = text.slice(close + 2).split(' ');
  return {
    name: text.slice(open + 1, close),
    state: fields[0] ?? 'X',
    parentPid: Number(fields[1]),
    groupId: Number(fields[2]),
    sessionId: Number(fields[3]),
    cpuTicks: Number(fields[11]) + Number(fields[12]),
    startTicks: fields[19] ?? '',
    residentPages: Number(fields[21]),
  };
}

/** Bytes that it, its threads and the children that it has waited for moved from and to disks; null when that may not be read. */
export function readProcessIo(pid: number): { readonly readBytes: number; readonly writtenBytes: number } | null {
  try {
    const text = readFileSync(`/proc/${pid}/io`, 'latin1');
    const bytes = (name: string): number => Number(new RegExp(`^${name}: (\\d+)$`, 'mu').exec(text)?.[1]);
    const io = { readBytes: bytes('read_bytes'), writtenBytes: bytes('write_bytes') };
    return Number.isNaN(io.readBytes + io.writtenBytes) ? null : io;
  } catch {
    return null;
  }
}

const isDead = (stat: ProcessStat): boolean => stat.state === 'Z' || stat.state === 'X';

/** The identity of a living process; null when it is gone or a zombie. */
export function readIdentity(pid: number): ProcessIdentity | null {
  const stat = readProcessStat(pid);
  return stat === null || isDead(stat) ? null : { bootId: currentBootId(), pid, startTicks: stat.startTicks };
}

/** True while exactly this process lives; a zombie is dead. */
export function isIdentityAlive(identity: ProcessIdentity): boolean {
  if (identity.bootId !== currentBootId()) return false;
  return readIdentity(identity.pid)?.startTicks === identity.startTicks;
}

/** Every pid in /proc at this moment. */
export function listPids(): number[] {
  const pids: number[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (Number.isInteger(pid) && pid > 0) pids.push(pid);
  }
  return pids;
}

/** The environment that a process was started with, as `NAME=value` texts; null when it may not be read. */
export function readEnviron(pid: number): string[] | null {
  try {
    const entries = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
    if (entries.at(-1) === '') entries.pop();
    return entries;
  } catch {
    return null;
  }
}

/** Living processes that were started with the variable `entry` (`NAME=value`), sessions and parents regardless. */
export function pidsWithEnvironEntry(entry: string): number[] {
  return listPids().filter((pid) => {
    if (pid === process.pid || readEnviron(pid)?.includes(entry) !== true) return false;
    const stat = readProcessStat(pid);
    return stat !== null && !isDead(stat);
  });
}
