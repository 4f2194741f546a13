// What this machine has done and holds, read from /proc and /sys (proc(5)). Where the kernel does not tell, the value is absent.

import { readdir, readFile, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';

const TICKS_PER_SECOND = 100;
/** The unit of /proc/diskstats, whatever the disk's own is. */
const SECTOR_BYTES = 512;
/** Disks that are memory, or files on another disk. */
const NO_DISK = /^(?:loop|ram|zram)\d/u;

export interface MachineCounters {
  /** Time of all cores that was not idle, since the machine was started. */
  readonly cpuSeconds?: number;
  /** Averages over 1, 5 and 15 minutes. */
  readonly load?: readonly [number, number, number];
  /** Without what the kernel can drop. */
  readonly memoryBytes?: number;
  readonly network?: { readonly receivedBytes: number; readonly sentBytes: number };
  readonly disk?: { readonly readBytes: number; readonly writtenBytes: number };
  /** Of the file system that holds the folder. */
  readonly space?: { readonly usedBytes: number; readonly sizeBytes: number };
}

/** @param folder whose file system is meant @param root of the machine; another one in tests */
export async function readMachineCounters(folder: string, root = '/'): Promise<MachineCounters> {
  const text = (path: string): Promise<string | null> => readFile(join(root, path), 'utf8').catch(() => null);
  const [cpu, load, memory, network, disk, space] = await Promise.all([
    text('proc/stat').then(cpuSecondsOf),
    text('proc/loadavg').then(loadOf),
    text('proc/meminfo').then(memoryBytesOf),
    text('proc/net/dev').then((table) => networkOf(table, root)),
    text('proc/diskstats').then((table) => diskOf(table, root)),
    statfs(folder).catch(() => null),
  ]);
  return {
    ...(cpu === null ? {} : { cpuSeconds: cpu }),
    ...(load === null ? {} : { load }),
    ...(memory === null ? {} : { memoryBytes: memory }),
    ...(network === null ? {} : { network }),
    ...(disk === null ? {} : { disk }),
    ...(space === null ? {} : { space: { usedBytes: (space.blocks - space.bfree) * space.bsize, sizeBytes: space.blocks * space.bsize } }),
  };
}

function cpuSecondsOf(text: string | null): number | null {
  const [user, nice, system, , , irq, softirq] =
    /^cpu +([\d ]+)$/mu
      .exec(text ?? '')?.[1]
      ?.split(' ')
      .map(Number) ?? [];
  const parts = [user, nice, system, irq, softirq].map((part) => part ?? Number.NaN);
  const ticks = parts.reduce((sum, part) => sum + part, 0);
  return Number.isFinite(ticks) ? ticks / TICKS_PER_SECOND : null;
}

function loadOf(text: string | null): readonly [number, number, number] | null {
  const [one, five, fifteen] = (text ?? '').split(' ').map(Number);
  return one === undefined || five === undefined || fifteen === undefined || !Number.isFinite(fifteen) ? null : [one, five, fifteen];
}

function memoryBytesOf(text: string | null): number | null {
  const [total, available] = ['MemTotal', 'MemAvailable'].map((name) => {
    const kib = new RegExp(`^${name}: +(\\d+) kB$`, 'mu').exec(text ?? '')?.[1];
    return kib === undefined ? null : Number(kib) * 1024;
  });
  return typeof total !== 'number' || typeof available !== 'number' ? null : total - available;
}

/** All that passed its interfaces with hardware. Where none has any, those that are not inside of it: bridges and their members carry
 * what another one has counted already. */
async function networkOf(text: string | null, root: string): Promise<MachineCounters['network'] | null> {
  if (text === null) return null;
  const rows = [...text.matchAll(/^ *([^ :]+): *(\d+)(?: +\d+){7} +(\d+)/gmu)].filter(([, name]) => name !== 'lo');
  const has = async (name: string, entry: string): Promise<boolean> =>
    (await stat(join(root, 'sys/class/net', name, entry)).catch(() => null)) !== null;
  const seen = await Promise.all(
    rows.map(async ([, name = '', received, sent]) => ({
      isHardware: await has(name, 'device'),
      isInside: (await has(name, 'bridge')) || (await has(name, 'brport')),
      received: Number(received),
      sent: Number(sent),
    })),
  );
  const hardware = seen.filter(({ isHardware }) => isHardware);
  const counted = hardware.length > 0 ? hardware : seen.filter(({ isInside }) => !isInside);
  return {
    receivedBytes: counted.reduce((sum, { received }) => sum + received, 0),
    sentBytes: counted.reduce((sum, { sent }) => sum + sent, 0),
  };
}

/** All that its disks did. A partition is counted with its disk, and what is made of disks (LVM, RAID) with these. */
async function diskOf(text: string | null, root: string): Promise<MachineCounters['disk'] | null> {
  if (text === null) return null;
  const isWhole = async (name: string): Promise<boolean> => {
    const folder = join(root, 'sys/block', name);
    if (NO_DISK.test(name) || (await stat(folder).catch(() => null)) === null) return false;
    return (await readdir(join(folder, 'slaves')).catch(() => [])).length === 0;
  };
  const rows = [...text.matchAll(/^ *\d+ +\d+ (\S+) \d+ \d+ (\d+) \d+ \d+ \d+ (\d+)/gmu)];
  const wholes = await Promise.all(rows.map(([, name = '']) => isWhole(name)));
  const counted = rows.filter((_row, index) => wholes[index] === true);
  if (counted.length === 0) return null;
  const bytes = (column: number): number => counted.reduce((sum, row) => sum + Number(row[column]), 0) * SECTOR_BYTES;
  return { readBytes: bytes(2), writtenBytes: bytes(3) };
}
