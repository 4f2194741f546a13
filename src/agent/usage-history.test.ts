import assert from 'node:assert/strict';
import { appendFile, mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { NodeUsage } from '../api/agent.ts';
import { createFakeClock } from '../lib/clock.ts';
import type { FakeClock } from '../lib/clock.ts';
import type { UsagePoint } from '../model/usage.ts';
import { createUsageHistories, TIERS } from './usage-history.ts';
import type { UsageHistories } from './usage-history.ts';

const [FINE, COARSE] = TIERS;
const EVERY_MS = 5000;

async function withHistory(run: (world: World) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-history-'));
  try {
    await run(world(folder));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

interface World {
  readonly clock: FakeClock;
  readonly folder: string;
  readonly history: () => UsageHistories;
  readonly restart: () => void;
  /** Measures every few seconds; the counters of `a` grow with the time. */
  readonly measure: (ms: number, usage?: (seconds: number) => Partial<NodeUsage>, attempt?: string) => Promise<void>;
  readonly points: (sinceMs: number, id?: string) => Promise<{ readonly stepMs: number; readonly points: readonly UsagePoint[] }>;
}

function world(folder: string): World {
  const clock = createFakeClock();
  let history = createUsageHistories(folder, clock);
  let seconds = 0;
  return {
    clock,
    folder,
    history: () => history,
    restart: () => {
      history = createUsageHistories(folder, clock);
    },
    measure: async (ms, usage = () => ({}), attempt = 'a.1') => {
      for (let passed = 0; passed < ms; passed += EVERY_MS) {
        const taken: NodeUsage = {
          cpu: null,
          cpuSeconds: seconds / 2,
          memoryBytes: 1000,
          network: { receivedBytes: seconds * 100, sentBytes: seconds * 10 },
          ...usage(seconds),
        };
        await history.add([{ id: 'a', attempt, usage: taken }]);
        await clock.advance(EVERY_MS);
        seconds += EVERY_MS / 1000;
      }
    },
    points: async (sinceMs, id = 'a') => {
      const { stepMs, points } = await history.read({ ids: [id], sinceMs, untilMs: clock.now() });
      return { stepMs, points: points.get(id) ?? [] };
    },
  };
}

test('a step is the average over it, of memory the most, and what is not counted is null', () =>
  withHistory(async ({ clock, measure, points }) => {
    const beganMs = Math.ceil(clock.now() / FINE.stepMs) * FINE.stepMs;
    await clock.advance(beganMs - clock.now());
    await measure(60_000, (seconds) => ({ memoryBytes: seconds === 15 ? 5000 : 1000 }));
    const { stepMs, points: found } = await points(beganMs);
    assert.equal(stepMs, FINE.stepMs);
    assert.deepEqual(
      found.map(({ atMs }) => atMs - beganMs),
      [0, 10_000, 20_000, 30_000, 40_000],
      'the last step has not ended',
    );
    const common = { cpu: 0.5, receivedPerSecond: 100, sentPerSecond: 10, readPerSecond: null, writtenPerSecond: null };
    assert.deepEqual(found[1], { atMs: beganMs + 10_000, memoryBytes: 5000, ...common });
    assert.deepEqual(found[2], { atMs: beganMs + 20_000, memoryBytes: 1000, ...common });
  }));

test('an attempt that follows another in the same step counts from nothing', () =>
  withHistory(async ({ clock, measure, points }) => {
    await clock.advance(FINE.stepMs - (clock.now() % FINE.stepMs));
    await measure(20_000);
    await measure(10_000, (seconds) => ({ cpuSeconds: (seconds - 20) / 4 }), 'a.2');
    await measure(5000, () => ({ cpuSeconds: 1 }), 'a.2');
    assert.deepEqual(
      (await points(clock.now() - 60_000)).points.slice(-2).map(({ cpu }) => cpu),
      [0.5, 0.25],
    );
  }));

test('what was kept is there after a restart, also where a kill has torn the last line', () =>
  withHistory(async ({ clock, folder, measure, points, restart }) => {
    const beganMs = clock.now();
    await measure(60_000);
    const before = (await points(beganMs)).points;
    assert.ok(before.length >= 4);
    const [last] = (await readdir(folder)).filter((name) => name.startsWith('fine')).sort();
    await appendFile(join(folder, last ?? ''), '{"atMs":1,"of":{"a":[1,');
    restart();
    await measure(60_000);
    const after = (await points(beganMs)).points;
    assert.deepEqual(after.slice(0, before.length), before);
    assert.ok(after.length >= before.length + 4);
    assert.ok(after.every((point, index) => index === 0 || point.atMs > (after[index - 1]?.atMs ?? 0)));
  }));

test('an hour is kept in fine steps and two days in coarse ones; what is older goes', { timeout: 60_000 }, () =>
  withHistory(async ({ clock, folder, measure, points }) => {
    await measure(5 * 3_600_000);
    const fine = await points(clock.now() - FINE.keepMs);
    assert.equal(fine.stepMs, FINE.stepMs);
    assert.ok(fine.points.length >= FINE.keepMs / FINE.stepMs - 1 && fine.points.length <= FINE.keepMs / FINE.stepMs + 1);
    const coarse = await points(clock.now() - 4 * 3_600_000);
    assert.equal(coarse.stepMs, COARSE.stepMs);
    assert.ok(coarse.points.length >= 47 && coarse.points.length <= 49);
    assert.ok(coarse.points.every(({ cpu, receivedPerSecond }) => cpu === 0.5 && receivedPerSecond === 100));
    const kept = (await readdir(folder)).filter((name) => name.startsWith('fine'));
    assert.ok(kept.length <= 6, `${kept.length} files of fine steps are kept`);
  }),
);

test('many Instances are kept for a shorter time rather than on more disk', () =>
  withHistory(async ({ clock, folder }) => {
    const small = { ...FINE, maxBytes: 100_000 };
    const history = createUsageHistories(folder, clock, [small, COARSE]);
    const usage = { cpu: null, cpuSeconds: 1, memoryBytes: 123_456_789, network: { receivedBytes: 1, sentBytes: 1 } };
    const samples = Array.from({ length: 40 }, (_unused, n) => ({ id: `instance-with-quite-a-long-id-${n}`, attempt: '1', usage }));
    for (let step = 0; step < 120; step += 1) {
      await history.add(samples);
      await clock.advance(FINE.stepMs);
    }
    const files = (await readdir(folder)).filter((name) => name.startsWith('fine'));
    const sizes = await Promise.all(files.map(async (name) => (await stat(join(folder, name))).size));
    assert.ok(sizes.reduce((sum, size) => sum + size, 0) <= small.maxBytes);
    const wanted = { ids: [samples[0]?.id ?? ''], sinceMs: clock.now() - FINE.keepMs, untilMs: clock.now() };
    const found = [...(await history.read(wanted)).points.values()].flat();
    assert.ok(found.length > 15 && found.length < 119, `${found.length} steps are kept`);
    assert.ok((found.at(-1)?.atMs ?? 0) >= clock.now() - 3 * FINE.stepMs, 'the newest are');
  }));
