import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createFakeClock } from '../../lib/clock.ts';
import { isFailure } from '../../lib/failure.ts';
import { createMemoryStore } from '../../store/memory.ts';
import type { Store } from '../../store/store.ts';
import { createView } from '../../store/view.ts';
import { createChangeFeed } from './change-feed.ts';
import type { ChangeFeed } from './change-feed.ts';

const clock = createFakeClock();

async function withFeed(body: (store: Store, feed: ChangeFeed) => Promise<void>, keepRevisions?: number): Promise<void> {
  const store = createMemoryStore({ clock, keepRevisions });
  const feed = createChangeFeed({ store, clock, prefix: 'kv/' });
  const running = createView({ store, collections: [], clock, onBatch: feed.push, onLoaded: feed.restart });
  await running.start();
  try {
    await body(store, feed);
  } finally {
    await running.stop();
    await store.close();
  }
}

const put = (store: Store, key: string) => store.commit({ compare: [], writes: [{ kind: 'put', key, value: 'x' }] });

/** Takes so many changes, as `<key>@<revision>`. */
async function take(feed: ChangeFeed, prefix: string, after: number, count: number): Promise<readonly string[]> {
  const over = new AbortController();
  const told: string[] = [];
  if (count === 0) return told;
  for await (const { position, changes } of feed.follow({ prefix, after, signal: over.signal })) {
    for (const change of changes) told.push(`${change.kind === 'put' ? change.entry.key : change.key}@${position}`);
    if (told.length >= count) break;
  }
  over.abort();
  return told;
}

test('whoever follows from any moment is told all that came after, once, however far behind memory begins', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom('kv/a/1', 'kv/a/2', 'kv/b/1', 'events/1'), { minLength: 1, maxLength: 60 }),
      fc.nat(),
      fc.option(fc.nat(), { nil: undefined }),
      async (keys, from, restartAt) => {
        await withFeed(async (store, feed) => {
          const all: string[] = [];
          const after = from % keys.length;
          for (const [index, key] of keys.entries()) {
            const { revision } = await put(store, key);
            await clock.advance(0);
            if (key.startsWith('kv/a/') && revision > after) all.push(`${key}@${revision}`);
            if (restartAt !== undefined && index === restartAt % keys.length) feed.restart(revision);
          }
          assert.deepEqual(await take(feed, 'kv/a/', after, all.length), all);
        });
      },
    ),
    { numRuns: 60 },
  );
});

test('memory is bounded: what is no longer in it comes from the store', async () => {
  await withFeed(async (store, feed) => {
    const expected: string[] = [];
    for (let index = 0; index < 6000; index += 1) {
      const key = `kv/a/${index % 7}`;
      const { revision } = await put(store, key);
      expected.push(`${key}@${revision}`);
    }
    await clock.advance(0);
    assert.deepEqual(await take(feed, 'kv/a/', 0, 6000), expected);
  });
});

test('what the store has forgotten too is compacted', async () => {
  await withFeed(async (store, feed) => {
    for (let index = 0; index < 50; index += 1) await put(store, `kv/a/${index}`);
    await clock.advance(0);
    feed.restart(50);
    await assert.rejects(take(feed, 'kv/a/', 10, 1), (error) => isFailure(error, 'compacted'));
  }, 20);
});

test('a reader sleeps until something of its own happens, and is told now and then that nothing has', async () => {
  await withFeed(async (store, feed) => {
    const over = new AbortController();
    const steps: number[] = [];
    const running = (async () => {
      for await (const { changes } of feed.follow({ prefix: 'kv/a/', after: 0, signal: over.signal })) steps.push(changes.length);
    })();
    await clock.advance(0);
    await put(store, 'kv/b/1');
    await put(store, 'events/1');
    await clock.advance(0);
    assert.deepEqual(steps, [0]);
    await put(store, 'kv/a/1');
    await clock.advance(0);
    assert.deepEqual(steps, [0, 1]);
    await clock.advance(30_000);
    assert.deepEqual(steps, [0, 1, 0]);
    over.abort();
    await running;
  });
});
