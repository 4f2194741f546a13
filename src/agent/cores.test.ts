import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { Driver } from '../driver/contract.ts';
import { createFakeClock } from '../lib/clock.ts';
import { createFakeDriver } from '../driver/fake.ts';
import { silentLog } from '../sys/log.ts';
import { createCores } from './cores.ts';
import type { CoreUser } from './cores.ts';

interface Bench {
  readonly users: Map<string, CoreUser>;
  /** Cores of each that runs, as the kernel would have them. */
  readonly allowed: Map<string, readonly number[]>;
  readonly divide: () => void;
  /** As a supervisor starts an attempt; `during` resolves before it runs. */
  readonly start: (id: string, during?: Promise<void>) => Promise<void>;
  readonly end: (id: string) => void;
}

const COUNT = 4;
const ALL = [0, 1, 2, 3];

function bench(): Bench {
  const users = new Map<string, CoreUser>();
  const allowed = new Map<string, readonly number[]>();
  const driver: Driver = {
    ...createFakeDriver({ clock: createFakeClock() }),
    confine: async (handle, to) => void allowed.set(String(handle['id']), to),
  };
  const cores = createCores({ count: COUNT, users: () => [...users.values()], log: silentLog });
  return {
    users,
    allowed,
    divide: () => cores.divide(),
    start: (id, during) =>
      cores.launch(id, async (its) => {
        await during;
        allowed.set(id, its ?? ALL);
        const user = users.get(id);
        if (user !== undefined) users.set(id, { ...user, running: { driver, handle: { id } } });
      }),
    end: (id) => {
      const user = users.get(id);
      if (user !== undefined) users.set(id, { ...user, isOver: true, running: null });
      allowed.delete(id);
      cores.divide();
    },
  };
}

const user = (id: string, cores: readonly number[] | null): CoreUser => ({ id, cores, isOver: false, running: null });

test('others leave the cores of an Instance before it starts, and come back when it is over', async () => {
  const its = bench();
  its.users.set('a', user('a', null));
  its.divide();
  await its.start('a');
  assert.deepEqual(its.allowed.get('a'), ALL);
  its.users.set('own', user('own', [1, 2]));
  its.divide();
  await its.start('own');
  its.users.set('b', user('b', null));
  await its.start('b');
  assert.deepEqual(Object.fromEntries(its.allowed), { a: [0, 3], own: [1, 2], b: [0, 3] });
  its.end('own');
  its.users.set('c', user('c', null));
  await its.start('c');
  assert.deepEqual(Object.fromEntries(its.allowed), { a: ALL, b: ALL, c: ALL });
});

test('what is being started meanwhile is waited for and then sent away', async () => {
  const its = bench();
  const gate = Promise.withResolvers<undefined>();
  its.users.set('slow', user('slow', null));
  const slow = its.start('slow', gate.promise);
  await Promise.resolve();
  await Promise.resolve();
  its.users.set('own', user('own', [3]));
  its.divide();
  let started = false;
  const own = its.start('own').then(() => (started = true));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(started, false, 'the other one may still come up on its core');
  gate.resolve(undefined);
  await Promise.all([slow, own]);
  assert.deepEqual(Object.fromEntries(its.allowed), { slow: [0, 1, 2], own: [3] });
});

test('where every core is somebody’s own, those that share run on all', async () => {
  const its = bench();
  its.users.set('own', user('own', ALL));
  its.users.set('a', user('a', null));
  its.divide();
  await its.start('own');
  await its.start('a');
  assert.deepEqual(its.allowed.get('a'), ALL);
});

test('whatever comes and goes, nobody runs on a core of another one', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ id: fc.integer({ min: 0, max: 5 }), verb: fc.constantFrom('start', 'end') }), { maxLength: 25 }),
      async (steps) => {
        const its = bench();
        const cores: readonly (readonly number[] | null)[] = [null, null, null, [0], [1], [2]];
        const going: Promise<void>[] = [];
        for (const { id, verb } of steps) {
          const name = `i${id}`;
          const present = its.users.get(name);
          if (verb === 'end') {
            if (present?.running !== null && present !== undefined) {
              its.end(name);
              its.users.delete(name);
              its.divide();
            }
          } else if (present === undefined) {
            its.users.set(name, user(name, cores[id] ?? null));
            its.divide();
            going.push(its.start(name, new Promise((resolve) => setImmediate(resolve))));
          }
          if (id === 0) await new Promise((resolve) => setImmediate(resolve));
          const running = [...its.users.values()].filter((each) => each.running !== null);
          for (const own of running.filter((each) => each.cores !== null))
            for (const other of running.filter((each) => each.cores === null))
              for (const core of own.cores ?? []) assert.equal(its.allowed.get(other.id)?.includes(core), false, `${own.id} ${other.id}`);
        }
        await Promise.all(going);
      },
    ),
    { numRuns: 300 },
  );
});
