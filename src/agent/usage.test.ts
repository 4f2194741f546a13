import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { InstanceUsage } from '../api/agent.ts';
import type { Driver, RunSpec, Usage } from '../driver/contract.ts';
import { createFakeClock } from '../lib/clock.ts';
import { createMachineMeter, createUsageMeter } from './usage.ts';

test('each measurement tells the cores since the one before of the same attempt, and what has ended is left out', async () => {
  const clock = createFakeClock();
  const taken = new Map<string, Usage>();
  const driver = {
    usage: async ({ id }: { readonly id: string }) => {
      const usage = taken.get(id);
      if (usage === undefined) throw new Error('it has ended');
      return usage;
    },
  } as unknown as Driver; // nothing else of it is called
  const running: [string, { driver: Driver; handle: { id: string }; run: RunSpec }][] = [];
  const start = (id: string, attempt: number): void => {
    // nothing but the key is read
    running.push([id, { driver, handle: { id }, run: { key: `${id}.${attempt}` } as RunSpec }]);
  };
  const set = (id: string, cpuSeconds: number, rest: Partial<Usage> = {}): void =>
    void taken.set(id, { cpuSeconds, memoryBytes: 1000, processes: 2, ...rest });
  const meter = createUsageMeter({ clock, running: () => running });
  const measure = async (): Promise<readonly InstanceUsage[]> => (await meter()).map(({ usage }) => usage);

  start('a', 1);
  start('gone', 1);
  set('a', 1);
  assert.deepEqual(await measure(), [{ id: 'a', cpuSeconds: 1, cpu: null, memoryBytes: 1000, processes: 2 }]);
  await clock.advance(5000);
  set('a', 3.5, { network: { receivedBytes: 5, sentBytes: 6 }, disk: { readBytes: 10, writtenBytes: 20 } });
  assert.deepEqual(
    (await measure()).map(({ id, cpu }) => [id, cpu]),
    [['a', 0.5]],
  );
  await clock.advance(5000);
  set('a', 3.5, { disk: { readBytes: 4, writtenBytes: 30 } });
  assert.deepEqual(
    (await measure()).map(({ disk, network }) => [disk, network]),
    [[{ readBytes: 10, writtenBytes: 30 }, undefined]],
    'what an ended process had read is not forgotten',
  );
  await clock.advance(5000);
  running.length = 0;
  start('a', 2);
  set('a', 9);
  assert.deepEqual(
    (await measure()).map(({ id, cpu }) => [id, cpu]),
    [['a', null]],
    'another attempt began from nothing',
  );
});

test('of the machine the cores since the measurement before are told, where its kernel counts them', async () => {
  const clock = createFakeClock();
  let counted: number | undefined = 100;
  const read = async (): Promise<{ cpuSeconds?: number }> => (counted === undefined ? {} : { cpuSeconds: counted });
  const measure = createMachineMeter({ clock, read });
  assert.deepEqual(await measure(), { cpuSeconds: 100, cpu: null });
  await clock.advance(5000);
  counted = 110;
  assert.deepEqual(await measure(), { cpuSeconds: 110, cpu: 2 });
  counted = undefined;
  assert.deepEqual(await measure(), { cpu: null });
});
