import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { table } from '../../api/table.ts';
import { create } from '../../store/records.ts';
import { appRecords } from '../apps/records.ts';
import { anApp, callOf, createTestContext } from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import { createEvents } from './events.ts';
import type { Events } from './events.ts';
import { eventRecords } from './records.ts';

async function withEvents(run: (events: Events, context: TestContext) => Promise<void>): Promise<void> {
  const context = await createTestContext();
  const events = createEvents(context);
  try {
    await context.view.commit(create(appRecords, anApp()));
    events.start();
    await run(events, context);
  } finally {
    await events.stop();
    await context.close();
  }
}

const record = (events: Events, message: string, appId?: string): void =>
  events.record({ level: 'info', kind: 'test', message, subject: appId === undefined ? {} : { appId } });

/** Waits until so many are kept. */
async function kept(context: TestContext, count: number): Promise<void> {
  for (let turn = 0; context.view.list(eventRecords).length !== count; turn += 1) {
    assert.ok(turn < 2000, `${context.view.list(eventRecords).length} events are kept, not ${count}`);
    await context.clock.advance(1);
  }
}

const list = (events: Events, query: { app?: string; limit?: number; cursor?: string }) =>
  events.handlers.events.list(callOf<typeof table.events.list>({ params: {}, query: { limit: 100, ...query }, body: undefined }));

function follow(events: Events, context: TestContext, app?: string, lastEventId: string | null = null) {
  const gone = new AbortController();
  const query = app === undefined ? {} : { app };
  const items = events.handlers.events.follow(
    callOf<typeof table.events.follow>({ params: {}, query, body: undefined, signal: gone.signal, lastEventId }),
  );
  const stream = items[Symbol.asyncIterator]();
  return {
    next: async (): Promise<{ id: string; message: string }> => {
      const item = stream.next();
      await context.clock.advance(10);
      const result = await item;
      assert.ok(result.done !== true && result.value.id !== null);
      return { id: result.value.id, message: result.value.data.message };
    },
    leave: async (): Promise<void> => {
      gone.abort();
      await stream.return?.();
    },
  };
}

test('events are listed newest first, page by page, of one App where asked', () =>
  withEvents(async (events, context) => {
    for (let n = 1; n <= 5; n += 1) record(events, `event ${n}`, n % 2 === 0 ? 'app-1' : undefined);
    await kept(context, 5);
    const first = await list(events, { limit: 2 });
    assert.deepEqual(
      first.items.map((item) => item.message),
      ['event 5', 'event 4'],
    );
    const second = await list(events, { limit: 2, cursor: first.next ?? '' });
    assert.deepEqual(
      second.items.map((item) => item.message),
      ['event 3', 'event 2'],
    );
    const last = await list(events, { limit: 2, cursor: second.next ?? '' });
    assert.deepEqual([last.items.map((item) => item.message), last.next], [['event 1'], null]);
    const ofApp = await list(events, { app: 'shop' });
    assert.deepEqual(
      ofApp.items.map((item) => [item.message, item.app]),
      [
        ['event 4', 'shop'],
        ['event 2', 'shop'],
      ],
    );
  }));

test('a follower gets what happens from now on, and after a reconnect goes on without a gap', () =>
  withEvents(async (events, context) => {
    record(events, 'before');
    await kept(context, 1);
    const first = follow(events, context);
    const awaited = first.next();
    record(events, 'one');
    const one = await awaited;
    assert.equal(one.message, 'one');
    await first.leave();
    record(events, 'two');
    record(events, 'three');
    await kept(context, 4);
    const second = follow(events, context, undefined, one.id);
    assert.deepEqual([(await second.next()).message, (await second.next()).message], ['two', 'three']);
    await second.leave();
  }));

test('a wall clock that was set back, even over a restart, makes no event that a follower would miss', () =>
  withEvents(async (events, context) => {
    record(events, 'late');
    await kept(context, 1);
    const [late] = context.view.list(eventRecords);
    assert.ok(late);
    await events.stop();
    context.clock.jump(-3_600_000);
    const restarted = createEvents(context);
    restarted.start();
    record(restarted, 'early');
    await kept(context, 2);
    const follower = follow(restarted, context, undefined, late.document.id);
    assert.equal((await follower.next()).message, 'early');
    await follower.leave();
    await restarted.stop();
  }));

test('events end after a week', () =>
  withEvents(async (events, context) => {
    record(events, 'old');
    await kept(context, 1);
    await context.clock.advance(7 * 24 * 3_600_000 + 60_000);
    await kept(context, 0);
  }));

test('more than the bound is never kept: the oldest go', () =>
  withEvents(async (events, context) => {
    for (let batch = 0; batch < 11; batch += 1) {
      for (let n = 0; n < 1000; n += 1) record(events, `${batch}/${n}`);
      await kept(context, Math.min(10_000, (batch + 1) * 1000));
    }
    for (let turn = 0; context.view.list(eventRecords).at(-1)?.document.message !== '10/999'; turn += 1) {
      assert.ok(turn < 2000);
      await context.clock.advance(1);
    }
    assert.equal(context.view.list(eventRecords).length, 10_000);
    assert.equal(context.view.list(eventRecords).at(0)?.document.message, '1/0');
    assert.equal(context.view.list(eventRecords).at(-1)?.document.message, '10/999');
  }));

test('a storm is cut to what can wait, without slowing anybody', () =>
  withEvents(async (events, context) => {
    for (let n = 0; n < 5000; n += 1) record(events, `event ${n}`);
    await kept(context, 1000);
  }));
