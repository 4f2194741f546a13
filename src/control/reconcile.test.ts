import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeClock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { createSeededRandom } from '../lib/id.ts';
import type { ChangeListener } from '../store/view.ts';
import { silentLog } from '../sys/log.ts';
import type { Log } from '../sys/log.ts';
import type { Reconciler } from './context.ts';
import { startReconcilers } from './reconcile.ts';

function setUp(run: Reconciler['run'], log: Log = silentLog) {
  const clock = createFakeClock();
  const listeners = new Set<ChangeListener>();
  const view = {
    onChange: (listener: ChangeListener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const all = startReconcilers([{ name: 'one', everyMs: 60_000, wakeOn: ['apps'], run }], {
    clock,
    random: createSeededRandom(1),
    log,
    view,
  });
  const change = (collection: string): void => {
    for (const listener of listeners) listener(new Map([[collection, new Set(['id'])]]), 1);
  };
  return { clock, all, change, listeners };
}

test('a reconciler runs at once, on a change of its collections, and by time', async () => {
  let runs = 0;
  const { clock, all, change } = setUp(async () => void (runs += 1));
  await all.settled();
  assert.equal(runs, 1);
  change('nodes');
  await all.settled();
  assert.equal(runs, 1);
  change('apps');
  await all.settled();
  assert.equal(runs, 2);
  await clock.advance(60_000);
  assert.equal(runs, 3);
  await all.stop();
});

test('it runs again when it asks to', async () => {
  let runs = 0;
  const { clock, all } = setUp(async () => {
    runs += 1;
    return 500;
  });
  await clock.advance(1000);
  assert.equal(runs, 3);
  await all.stop();
});

test('an error is shown in the status, logged, and tried again ever later', async () => {
  const logged: string[] = [];
  const log: Log = { ...silentLog, error: (_fields, message) => void logged.push(message), child: () => log };
  let runs = 0;
  const { clock, all } = setUp(async () => {
    runs += 1;
    throw new Error('broken');
  }, log);
  await clock.advance(10);
  assert.equal(all.statuses()[0]?.lastError, 'broken');
  assert.equal(all.statuses()[0]?.name, 'one');
  await clock.advance(10 * 60_000);
  assert.ok(runs > 10 && runs < 40, String(runs));
  assert.ok(logged.length < 7, String(logged.length));
  await all.stop();
});

test('a lost race is tried again soon and is no error', async () => {
  const logged: string[] = [];
  const log: Log = { ...silentLog, error: (_fields, message) => void logged.push(message), child: () => log };
  let runs = 0;
  const { clock, all } = setUp(async () => {
    runs += 1;
    if (runs < 4) throw new Failure('conflict', { message: 'changed meanwhile' });
  }, log);
  await clock.advance(500);
  assert.equal(runs, 4);
  assert.deepEqual([all.statuses()[0]?.lastError, logged], [null, []]);
  await all.stop();
});

test('a good pass clears the error', async () => {
  let runs = 0;
  const { clock, all } = setUp(async () => {
    runs += 1;
    if (runs === 1) throw new Error('once');
  });
  await clock.advance(2000);
  assert.deepEqual([runs, all.statuses()[0]?.lastError], [2, null]);
  await all.stop();
});

test('stop ends the pass that runs, waits for it, and lets go of the view', async () => {
  let aborted = false;
  const { clock, all, listeners } = setUp(
    (signal) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => {
          aborted = true;
          resolve();
        });
      }),
  );
  await clock.advance(1);
  await all.stop();
  assert.ok(aborted);
  assert.equal(listeners.size, 0);
});
