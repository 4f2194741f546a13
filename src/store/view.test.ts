import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { createFakeClock } from '../lib/clock.ts';
import type { FakeClock } from '../lib/clock.ts';
import { Failure, isFailure } from '../lib/failure.ts';
import { defineCollection } from './collection.ts';
import type { Stored } from './collection.ts';
import { rejectsWith } from './contract-support.ts';
import { createMemoryStore } from './memory.ts';
import { create, encodeRecord, guard, put, remove, update } from './records.ts';
import type { Store } from './store.ts';
import { createView } from './view.ts';
import type { RunningView, View } from './view.ts';

interface Thing {
  readonly id: string;
  readonly name: string | null;
  readonly owner: string | null;
  readonly tags: readonly string[];
}

const things = defineCollection<Thing>({
  name: 'things',
  uniqueName: (thing) => thing.name,
  indexes: { owner: (thing) => thing.owner, tag: (thing) => thing.tags },
});
const reports = defineCollection<{ readonly id: string; readonly text: string }>({ name: 'reports' });

const thing = (id: string, fields: Partial<Thing> = {}): Thing => ({ id, name: null, owner: null, tags: [], ...fields });
const ids = (records: readonly Stored<{ readonly id: string }>[]): string[] => records.map(({ document }) => document.id);

interface World extends RunningView {
  readonly store: Store;
  readonly clock: FakeClock;
}

async function withView(
  run: (world: World) => Promise<void>,
  options: { readonly keepRevisions?: number; readonly wrap?: (store: Store) => Store } = {},
): Promise<void> {
  const clock = createFakeClock();
  const store = createMemoryStore({ clock, keepRevisions: options.keepRevisions });
  const running = createView({ store: options.wrap?.(store) ?? store, collections: [things, reports], clock });
  try {
    await run({ ...running, store, clock });
  } finally {
    await running.stop();
    await store.close();
  }
}

function mustGet(view: View, id: string): Stored<Thing> {
  return view.get(things, id) ?? assert.fail(`there is no ${id}`);
}

/** Writes beside the view, as another control would. */
async function writeElsewhere(store: Store, ...documents: readonly Thing[]): Promise<number> {
  const writes = documents.map((document) => ({
    kind: 'put' as const,
    key: `things/${document.id}`,
    value: encodeRecord(things, document),
  }));
  return (await store.commit({ compare: [], writes })).revision;
}

describe('the view', { timeout: 30_000 }, () => {
  it('holds what is there at its start and follows what others write', () =>
    withView(async ({ view, start, store }) => {
      await writeElsewhere(store, thing('2'), thing('1', { owner: 'me' }));
      await start();
      assert.equal(view.revision, 1);
      assert.deepEqual(ids(view.list(things)), ['1', '2']);
      await view.waitFor(await writeElsewhere(store, thing('3', { owner: 'me' })));
      await store.commit({ compare: [], writes: [{ kind: 'delete', key: 'things/1' }] });
      await view.waitFor(3);
      assert.deepEqual(ids(view.list(things)), ['2', '3']);
      assert.deepEqual(ids(view.by(things, 'owner', 'me')), ['3']);
      assert.deepEqual(view.list(reports), []);
    }));

  it('holds the result when a commit resolves', () =>
    withView(async ({ view, start }) => {
      await start();
      const revision = await view.commit(create(things, thing('1', { name: 'one' })), put(reports, { id: 'r', text: 'x' }));
      assert.equal(view.revision, revision);
      assert.deepEqual(view.byName(things, 'one'), { document: thing('1', { name: 'one' }), revision });
      assert.equal(view.get(reports, 'r')?.document.text, 'x');
    }));

  it('tells a create what exists already, by id and by name', () =>
    withView(async ({ view, start }) => {
      await start();
      await view.commit(create(things, thing('1', { name: 'one' })));
      const refused = (details: Record<string, string>) => (error: unknown) => {
        assert.ok(isFailure(error, 'exists'));
        assert.deepEqual(error.details, details);
        return true;
      };
      await assert.rejects(view.commit(create(things, thing('1'))), refused({ collection: 'things', id: '1' }));
      await assert.rejects(view.commit(create(things, thing('2', { name: 'one' }))), refused({ collection: 'things', name: 'one' }));
      await assert.rejects(view.commit(create(things, thing('1', { name: 'one' }))), refused({ collection: 'things', name: 'one' }));
    }));

  it('tells the loser of a race, which then sees what the winner wrote', () =>
    withView(async ({ view, start, store }) => {
      await start();
      await view.commit(create(things, thing('1')));
      const current = mustGet(view, '1');
      const elsewhere = writeElsewhere(store, thing('1', { owner: 'other' }));
      const race = view.commit(update(things, current, thing('1', { owner: 'me' })));
      await assert.rejects(race, (error) => isFailure(error, 'conflict') && error.details?.['id'] === '1');
      assert.equal(mustGet(view, '1').document.owner, 'other');
      assert.equal(mustGet(view, '1').revision, await elsewhere);
      for (const operation of [remove(things, current), guard(things, current)]) {
        await rejectsWith(view.commit(operation, put(reports, { id: 'r', text: '' })), 'conflict');
      }
      assert.equal(view.get(reports, 'r'), undefined);
    }));

  it('moves names in one commit and frees the old ones', () =>
    withView(async ({ view, start }) => {
      await start();
      await view.commit(create(things, thing('1', { name: 'one' })));
      await view.commit(update(things, mustGet(view, '1'), thing('1', { name: 'two' })));
      assert.equal(view.byName(things, 'one'), undefined);
      assert.equal(view.byName(things, 'two')?.document.id, '1');
      await view.commit(create(things, thing('2', { name: 'one' })));
      await rejectsWith(view.commit(update(things, mustGet(view, '1'), thing('1', { name: 'one' }))), 'exists');
      await view.commit(remove(things, mustGet(view, '2')));
      await view.commit(update(things, mustGet(view, '1'), thing('1', { name: 'one' })));
      assert.equal(view.byName(things, 'one')?.document.id, '1');
    }));

  it('commits nothing at once, and refuses what writes a key twice', () =>
    withView(async ({ view, start }) => {
      await start();
      assert.equal(await view.commit(), 0);
      await rejectsWith(view.commit(create(things, thing('1')), create(things, thing('1'))), 'internal');
      assert.throws(
        () => view.by(things, 'no-such-index', 'x'),
        (error) => isFailure(error, 'internal'),
      );
    }));

  it('tells listeners after each revision what changed, all of it at once, until they unsubscribe', () =>
    withView(async ({ view, start, store }) => {
      await start();
      const seen: unknown[] = [];
      view.onChange(() => {
        throw new Error('a listener that is broken');
      });
      const unsubscribe = view.onChange((changed, revision) => {
        assert.equal(view.revision, revision);
        seen.push([revision, Object.fromEntries(Array.from(changed, ([name, set]) => [name, [...set]]))]);
      });
      await view.commit(create(things, thing('1', { name: 'one' })), create(things, thing('2')), put(reports, { id: 'r', text: '' }));
      await store.commit({ compare: [], writes: [{ kind: 'put', key: 'elsewhere/1', value: '' }] });
      await view.commit(remove(things, mustGet(view, '1')));
      unsubscribe();
      await view.commit(remove(things, mustGet(view, '2')));
      assert.deepEqual(seen, [
        [1, { things: ['1', '2'], reports: ['r'] }],
        [3, { things: ['1'] }],
      ]);
    }));

  it('never changes a list that it has given away', () =>
    withView(async ({ view, start }) => {
      await start();
      await view.commit(create(things, thing('1', { owner: 'me' })));
      const [list, by] = [view.list(things), view.by(things, 'owner', 'me')];
      assert.equal(view.list(things), list);
      await view.commit(create(things, thing('0', { owner: 'me' })), update(things, mustGet(view, '1'), thing('1', { tags: ['x'] })));
      assert.deepEqual([ids(list), ids(by)], [['1'], ['1']]);
      assert.deepEqual([ids(view.list(things)), ids(view.by(things, 'owner', 'me'))], [['0', '1'], ['0']]);
    }));

  it('lists again after falling behind, and reports the difference', () =>
    withView(
      async ({ view, start, store }) => {
        await writeElsewhere(store, thing('changed'), thing('gone'), thing('same'));
        await start();
        const seen: (readonly [number, string[]])[] = [];
        view.onChange((changed, revision) => seen.push([revision, [...(changed.get('things') ?? [])].sort()]));
        // In one turn, so that the view cannot read in between and history forgets what it has not seen.
        const commits = [
          store.commit({ compare: [], writes: [{ kind: 'delete', key: 'things/gone' }] }),
          ...Array.from({ length: 30 }, (_, index) => writeElsewhere(store, thing('changed', { owner: String(index) }), thing('new'))),
        ];
        await Promise.all(commits);
        await view.waitFor(32);
        assert.deepEqual(seen, [[32, ['changed', 'gone', 'new']]]);
        assert.deepEqual(ids(view.list(things)), ['changed', 'new', 'same']);
        await view.waitFor(await writeElsewhere(store, thing('later')));
        assert.equal(seen.length, 2);
      },
      { keepRevisions: 10 },
    ));

  it('starts complete while others write on, over many pages', () =>
    withView(async ({ view, start, store }) => {
      for (let at = 0; at < 2500; at += 100) {
        await writeElsewhere(
          store,
          ...Array.from({ length: 100 }, (_, index) => thing(String(at + index).padStart(5, '0'), { owner: '0' })),
        );
      }
      const starting = start();
      for (let round = 1; round <= 60; round += 1) {
        await writeElsewhere(store, thing(String(round * 40).padStart(5, '0'), { owner: String(round) }), thing(`9${round}`));
        await store.commit({ compare: [], writes: [{ kind: 'delete', key: `things/${String(round * 40 + 1).padStart(5, '0')}` }] });
      }
      await starting;
      const { revision } = await store.list({ prefix: '', limit: 1 });
      await view.waitFor(revision);
      assert.equal(view.list(things).length, 2500);
      assert.equal(view.by(things, 'owner', '0').length, 2500 - 60 - 60);
      assert.equal(mustGet(view, '02400').document.owner, '60');
    }));

  it('refuses to start on records of a newer version', () =>
    withView(async ({ start, store }) => {
      const value = '{"schema":"things","id":"1","version":2,"document":{"id":"1"}}';
      await store.commit({ compare: [], writes: [{ kind: 'put', key: 'things/1', value }] });
      await rejectsWith(start(), 'data_newer');
    }));

  it('stops with a reason when a newer program writes what it cannot read', () =>
    withView(async ({ view, start, store }) => {
      await start();
      const waiting = view.waitFor(2);
      const value = '{"schema":"things","id":"1","version":2,"document":{"id":"1"}}';
      await store.commit({ compare: [], writes: [{ kind: 'put', key: 'things/1', value }] });
      await rejectsWith(waiting, 'data_newer');
      await rejectsWith(view.commit(create(things, thing('2'))), 'data_newer');
      assert.equal(view.revision, 0);
    }));

  it('goes on when the watch breaks and comes back', () => {
    let broken = 3;
    const wrap = (store: Store): Store => ({
      ...store,
      watch: (options) => {
        broken -= 1;
        if (broken >= 0) throw new Failure('unavailable', { message: 'The store cannot be reached.' });
        return store.watch(options);
      },
    });
    return withView(
      async ({ view, start, clock }) => {
        await start();
        const commit = view.commit(create(things, thing('1')));
        await clock.advance(1000);
        await commit;
        assert.equal(broken, -1);
        assert.ok(view.get(things, '1'));
      },
      { wrap },
    );
  });

  it('ends every waiting when it stops', () =>
    withView(async ({ view, start, stop }) => {
      await start();
      const cancelled = new AbortController();
      const aborted = view.waitFor(9, cancelled.signal);
      const waiting = view.waitFor(9);
      cancelled.abort(new Error('no more'));
      await assert.rejects(aborted, /no more/u);
      await stop();
      await rejectsWith(waiting, 'unavailable');
      await rejectsWith(view.waitFor(9), 'unavailable');
    }));

  it('keeps its indexes equal to what the documents say, whatever happens', async () => {
    const word = fc.constantFrom('a', 'b', 'c');
    const step = fc.record({
      id: fc.constantFrom('1', '2', '3', '4'),
      owner: fc.option(word),
      tags: fc.uniqueArray(word),
      gone: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(step, { minLength: 1, maxLength: 3 }), { maxLength: 12 }), (commits) =>
        withView(async ({ view, start, store }) => {
          await start();
          const model = new Map<string, Thing>();
          for (const steps of commits) {
            const last = new Map(steps.map((item) => [item.id, item]));
            const writes = Array.from(last.values(), ({ id, owner, tags, gone }) => {
              const document = thing(id, { name: `n${id}`, owner, tags });
              if (gone) model.delete(id);
              else model.set(id, document);
              const key = `things/${id}`;
              return gone ? { kind: 'delete' as const, key } : { kind: 'put' as const, key, value: encodeRecord(things, document) };
            });
            await view.waitFor((await store.commit({ compare: [], writes })).revision);
            const truth = [...model.values()].sort((left, right) => (left.id < right.id ? -1 : 1));
            assert.deepEqual(
              view.list(things).map(({ document }) => document),
              truth,
            );
            for (const key of ['a', 'b', 'c']) {
              assert.deepEqual(
                ids(view.by(things, 'owner', key)),
                truth.filter((item) => item.owner === key).map(({ id }) => id),
              );
              assert.deepEqual(
                ids(view.by(things, 'tag', key)),
                truth.filter((item) => item.tags.includes(key)).map(({ id }) => id),
              );
            }
            for (const id of ['1', '2', '3', '4']) assert.equal(view.byName(things, `n${id}`)?.document.id, model.has(id) ? id : undefined);
          }
        }),
      ),
      { numRuns: 100 },
    );
  });

  it('tells what keeps the store from writing, until it writes again', async () => {
    let full = false;
    const failing = (store: Store): Store => ({
      ...store,
      commit: (transaction) =>
        full ? Promise.reject(new Failure('storage_failed', { message: 'The disk is full.' })) : store.commit(transaction),
    });
    await withView(
      async ({ view, start }) => {
        await start();
        assert.equal(view.trouble(), null);
        full = true;
        await rejectsWith(view.commit(put(reports, { id: 'r', text: 'a' })), 'storage_failed');
        assert.equal(view.trouble()?.message, 'The disk is full.');
        full = false;
        await view.commit(put(reports, { id: 'r', text: 'a' }));
        assert.equal(view.trouble(), null);
      },
      { wrap: failing },
    );
  });
});
