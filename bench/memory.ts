// What the platform itself holds in memory when nothing happens: PSS of librad, data plane and keeper, with hello deployed; Instances
// are not counted. It runs on a copy of Node's binary, because other Node processes of the machine would take over a part of the PSS.
// Run: node bench/memory.ts [--json] [--check]

import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Platform } from '../test/platform.ts';
import { root } from '../test/platform.ts';
import { runBench } from './report.ts';
import type { Figure } from './report.ts';
import { variants, withHello } from './variants.ts';
import type { Variant } from './variants.ts';

const TARGET_MIB = 130;
/** The platform collects garbage once when it has settled; then it is idle. */
const SETTLE_MS = 20_000;
const IDLE_MS = 5000;

const ROLES = { librad: / up( |$)/u, 'data plane': / data-plane /u, keeper: / keeper /u } as const;

/** Proportional set size of a process, MiB (proc(5): smaps_rollup). */
function pssMiB(pid: number): number {
  const pss = /^Pss:\s+(\d+) kB$/mu.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
  if (pss === undefined) throw new Error(`Process ${pid} tells no PSS.`);
  return Number(pss) / 1024;
}

/** CPU time of a process so far, milliseconds; the kernel counts hundredths of a second. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function platformProcesses(platform: Platform): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const [role, words] of Object.entries(ROLES)) {
    const process = platform.processes().find(({ command }) => command.includes('semi-space') && words.test(command));
    if (process === undefined) throw new Error(`There is no process of ${role}.`);
    found.set(role, process.pid);
  }
  return found;
}

/** The variant on a Node that nobody else on this machine runs. */
function withOwnNode(variant: Variant, folder: string): Variant {
  const own = join(folder, variant.name);
  mkdirSync(join(own, 'bin'), { recursive: true });
  mkdirSync(join(own, 'node_modules/.bin'), { recursive: true });
  copyFileSync(process.execPath, join(own, 'node_modules/.bin/node'));
  chmodSync(join(own, 'node_modules/.bin/node'), 0o755);
  copyFileSync(variant.program, join(own, 'bin/libra'));
  const home = variant.name === 'bundle' ? join(root, 'dist') : root;
  for (const part of variant.name === 'bundle' ? ['program', 'package.json'] : ['src', 'package.json', 'node_modules/zod'])
    symlinkSync(join(home, part), join(own, part));
  return { ...variant, program: join(own, 'bin/libra') };
}

await runBench(async () => {
  const figures: Figure[] = [];
  const folder = mkdtempSync(join(tmpdir(), 'libra-bench-'));
  chmodSync(folder, 0o755);
  try {
    for (const variant of variants()) {
      await withHello(withOwnNode(variant, folder), async (platform) => {
        await pause(SETTLE_MS);
        const processes = platformProcesses(platform);
        const before = [...processes.values()].reduce((sum, pid) => sum + cpuMs(pid), 0);
        await pause(IDLE_MS);
        const after = [...processes.values()].reduce((sum, pid) => sum + cpuMs(pid), 0);
        let sum = 0;
        for (const [role, pid] of processes) {
          const size = pssMiB(pid);
          sum += size;
          figures.push({ name: `${role}, ${variant.name}`, value: size, unit: 'MiB' });
        }
        const target = variant.name === 'bundle' ? { target: TARGET_MIB } : {};
        figures.push({ name: `the platform, ${variant.name}`, value: sum, unit: 'MiB', ...target });
        figures.push({ name: `its CPU when idle, ${variant.name}`, value: (after - before) / (IDLE_MS / 100), unit: '%' });
      });
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return { bench: 'Idle memory (PSS)', figures };
});
