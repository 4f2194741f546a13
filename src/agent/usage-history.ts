// What Instances and the Node took, kept on the Node: steps of ten seconds for an hour, of five minutes for two days. The files are the
// history: a step is appended when it is over, so that a kill loses the one that had begun, and nothing of it is held in memory.

import { appendFile, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { NodeUsage } from '../api/agent.ts';
import type { Clock } from '../lib/clock.ts';
import { packPoint, unpackPoint } from '../model/usage.ts';
import type { UsagePoint } from '../model/usage.ts';
import { rate } from './usage.ts';

export interface HistoryTier {
  readonly name: string;
  readonly stepMs: number;
  readonly keepMs: number;
  /** On disk, whatever there is to keep. */
  readonly maxBytes: number;
}

export const TIERS: readonly [HistoryTier, HistoryTier] = [
  { name: 'fine', stepMs: 10_000, keepMs: 3_600_000, maxBytes: 32 * 1024 * 1024 },
  { name: 'coarse', stepMs: 300_000, keepMs: 2 * 86_400_000, maxBytes: 32 * 1024 * 1024 },
];
/** A tier is so many files, of which the oldest goes as a whole. */
const FILES = 4;

export interface HistorySample {
  readonly id: string;
  /** Counters of another one begin anew. */
  readonly attempt: string;
  readonly usage: NodeUsage;
}

export interface UsageHistories {
  /** All that was measured in one go. */
  add(samples: readonly HistorySample[]): Promise<void>;
  /** The finest steps that reach back so far. Of an id of which nothing is kept there are no points. */
  read(wanted: {
    readonly ids: readonly string[];
    readonly sinceMs: number;
    readonly untilMs: number;
  }): Promise<{ readonly stepMs: number; readonly points: ReadonlyMap<string, readonly UsagePoint[]> }>;
}

/** @param folder exists */
export function createUsageHistories(folder: string, clock: Clock, kept: typeof TIERS = TIERS): UsageHistories {
  const tiers = kept.map((tier) => createTier(tier, folder, clock));
  return {
    add: async (samples) => {
      for (const tier of tiers) await tier.add(samples);
    },
    read: async ({ ids, sinceMs, untilMs }) => {
      const [fine, coarse] = kept;
      const { name, stepMs } = clock.now() - sinceMs <= fine.keepMs + fine.stepMs ? fine : coarse;
      const points = new Map<string, UsagePoint[]>(ids.map((id) => [id, []]));
      for (const file of await filesOf(folder, name))
        for await (const [id, point] of pointsIn(join(folder, file.name), points))
          if (point.atMs > sinceMs - stepMs && point.atMs <= untilMs) points.get(id)?.push(point);
      return { stepMs, points };
    },
  };
}

/** One step of one id that has not ended. */
interface Step {
  readonly attempt: string;
  readonly fromMs: number;
  readonly from: NodeUsage;
  readonly toMs: number;
  readonly to: NodeUsage;
  readonly memoryBytes: number | null;
}

function createTier(tier: HistoryTier, folder: string, clock: Clock): { add(samples: readonly HistorySample[]): Promise<void> } {
  let steps = new Map<string, Step>();
  let currentStep: number | null = null;
  let file: { readonly name: string; readonly startedMs: number; bytes: number } | null = null;

  /** An agent goes on in a file of its own, so that a line that a kill has torn stays the last of its file. */
  const write = async (atMs: number, line: string): Promise<void> => {
    if (file === null || atMs - file.startedMs >= tier.keepMs / FILES || file.bytes + line.length > tier.maxBytes / FILES) {
      file = { name: `${tier.name}-${String(atMs).padStart(15, '0')}.jsonl`, startedMs: atMs, bytes: 0 };
      await removeOld(folder, tier, atMs);
    }
    file.bytes += line.length;
    await appendFile(join(folder, file.name), line, { mode: 0o600 });
  };

  return {
    add: async (samples) => {
      const nowMs = clock.monotonic();
      const step = Math.floor(clock.now() / tier.stepMs) * tier.stepMs;
      const over = currentStep !== null && currentStep !== step ? currentStep : null;
      const ended = over === null ? null : steps;
      const next = new Map<string, Step>();
      for (const { id, attempt, usage } of samples) {
        const known = steps.get(id);
        const memoryBytes = usage.memoryBytes ?? null;
        const same = known !== undefined && known.attempt === attempt ? known : null;
        // The counters at the end of one step are those at the beginning of the next.
        const [from, fromMs] = same === null ? [usage, nowMs] : over === null ? [same.from, same.fromMs] : [same.to, same.toMs];
        const most = over === null && same !== null ? Math.max(same.memoryBytes ?? 0, memoryBytes ?? 0) : memoryBytes;
        next.set(id, { attempt, fromMs, from, toMs: nowMs, to: usage, memoryBytes: most });
      }
      // What ended within the step still has its part of it.
      if (over === null) for (const [id, known] of steps) if (!next.has(id)) next.set(id, known);
      steps = next;
      currentStep = step;
      if (over === null || ended === null || ended.size === 0) return;
      const points = [...ended].map(([id, each]) => [id, packPoint(pointOf(over, each)).slice(1)]);
      await write(over, `${JSON.stringify({ atMs: over, of: Object.fromEntries(points) })}\n`);
    },
  };
}

function pointOf(atMs: number, { fromMs, toMs, from, to, memoryBytes }: Step): UsagePoint {
  const of = (before: number | undefined, after: number | undefined): number | null =>
    before === undefined || after === undefined ? null : rate(before, after, toMs - fromMs);
  const cpu = of(from.cpuSeconds, to.cpuSeconds);
  const whole = (value: number | null): number | null => (value === null ? null : Math.round(value));
  return {
    atMs,
    cpu: cpu === null ? null : Math.round(cpu * 10_000) / 10_000,
    memoryBytes,
    receivedPerSecond: whole(of(from.network?.receivedBytes, to.network?.receivedBytes)),
    sentPerSecond: whole(of(from.network?.sentBytes, to.network?.sentBytes)),
    readPerSecond: whole(of(from.disk?.readBytes, to.disk?.readBytes)),
    writtenPerSecond: whole(of(from.disk?.writtenBytes, to.disk?.writtenBytes)),
  };
}

interface HistoryFile {
  readonly name: string;
  readonly startedMs: number;
}

/** Oldest first. */
async function filesOf(folder: string, tier: string): Promise<readonly HistoryFile[]> {
  const pattern = new RegExp(`^${tier}-(\\d{15})\\.jsonl$`, 'u');
  return (await readdir(folder)).sort().flatMap((name) => {
    const startedMs = pattern.exec(name)?.[1];
    return startedMs === undefined ? [] : [{ name, startedMs: Number(startedMs) }];
  });
}

/** Files that hold nothing that is to be kept, and the oldest where all together are too large for one more. */
async function removeOld(folder: string, { name, keepMs, maxBytes }: HistoryTier, nowMs: number): Promise<void> {
  const files = await filesOf(folder, name);
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(folder, file.name))).size));
  let total = sizes.reduce((sum, size) => sum + size, 0);
  for (const [index, file] of files.entries()) {
    const isTooOld = file.startedMs + keepMs + keepMs / FILES < nowMs;
    if (!isTooOld && total <= maxBytes - maxBytes / FILES) continue;
    total -= sizes[index] ?? 0;
    await rm(join(folder, file.name), { force: true });
  }
}

async function* pointsIn(path: string, wanted: { has(id: string): boolean }): AsyncGenerator<readonly [id: string, point: UsagePoint]> {
  // It may have been too old in this moment.
  const file = await open(path).catch(() => null);
  if (file === null) return;
  try {
    for await (const line of file.readLines()) {
      const step = parsed(line);
      if (step === null) continue;
      for (const [id, values] of Object.entries(step.of)) {
        const point = wanted.has(id) && Array.isArray(values) ? unpackPoint([step.atMs, ...values]) : null;
        if (point !== null) yield [id, point];
      }
    }
  } finally {
    await file.close();
  }
}

/** null: a kill has torn it. */
function parsed(line: string): { readonly atMs: unknown; readonly of: object } | null {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== 'object' || value === null || !('atMs' in value) || !('of' in value)) return null;
    return typeof value.of === 'object' && value.of !== null ? { atMs: value.atMs, of: value.of } : null;
  } catch {
    return null;
  }
}
