import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Driver, RunSpec, Usage } from '../driver/contract.ts';
import { createFakeClock } from '../lib/clock.ts';
import { createUsageMeter } from './usage.ts';

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
  const set = (id: string, cpuSeconds: number): void => void taken.set(id, { cpuSeconds, memoryBytes: 1000, processes: 2 });
  const measure = createUsageMeter({ clock, running: () => running });

  start('a', 1);
  start('gone', 1);
  set('a', 1);
  assert.deepEqual(await measure(), [{ id: 'a', cpuSeconds: 1, cpu: null, memoryBytes: 1000, processes: 2 }]);
  await clock.advance(5000);
  set('a', 3.5);
  assert.deepEqual(
    (await measure()).map(({ id, cpu }) => [id, cpu]),
    [['a', 0.5]],
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
