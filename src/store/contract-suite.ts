// What every store engine must do, as tests: run on each of them, so that nothing above depends on which one it has.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isFailure } from '../lib/failure.ts';
import { leaseCases } from './contract-suite-leases.ts';
import { modelCases } from './contract-suite-model.ts';
import { del, inOrder, put, rejectsWith, take, withStore, write } from './contract-support.ts';
import type { OpenStore } from './contract-support.ts';
import { STORE_LIMITS } from './store.ts';
import type { ChangeBatch, Entry, Store, Write } from './store.ts';

const DEADLINE = { timeout: 20_000 };

export interface EngineUnderTest {
  readonly durable: boolean;
  /**
   * It is another machine: it keeps its own time, holds back readers by its own means, and takes what is asked of it at the same time in any
   * order.
   */
  readonly remote?: boolean;
}

/** Runs the whole contract on the engine that `open` opens. */
export function storeContract(name: string, open: OpenStore, engine: EngineUnderTest): void {
  describe(`the store contract on ${name}`, () => {
    commitContract(open);
    if (engine.durable) reopenContract(open);
    listContract(open);
    watchContract(open, engine);
    boundsContract(open, engine);
    closeContract(open);
    describe('leases', DEADLINE, () => {
      if (engine.remote === true) return;
      for (const { name: title, durable, run } of leaseCases) if (durable !== true || engine.durable) it(title, () => run(open, false));
    });
    describe('random transactions', DEADLINE, () => {
      for (const { name: title, run } of modelCases) it(title, () => run(open, engine.remote ?? false));
    });
  });
}

async function keysOf(store: Store, prefix = ''): Promise<string[]> {
  return (await store.list({ prefix })).entries.map((entry) => entry.key);
}

function commitContract(open: OpenStore): void {
  describe('commits', DEADLINE, () => {
    it('count revisions from 1 and stamp entries with them', () =>
      withStore(open, async ({ store }) => {
        assert.deepEqual(await write(store, put('a', '1')), { committed: true, revision: 1 });
        assert.deepEqual(await write(store, put('a', '2'), put('b', '1')), { committed: true, revision: 2 });
        assert.deepEqual(await store.get('a'), { key: 'a', value: '2', createRevision: 1, revision: 2, leaseId: null } satisfies Entry);
        assert.deepEqual(await store.get('b'), { key: 'b', value: '1', createRevision: 2, revision: 2, leaseId: null } satisfies Entry);
        assert.equal(await store.get('c'), undefined);
      }));

    it('compare with revision 0 for absence', () =>
      withStore(open, async ({ store }) => {
        const onlyOnce = { compare: [{ key: 'a', revision: 0 }], writes: [put('a')] };
        assert.equal((await store.commit(onlyOnce)).committed, true);
        assert.deepEqual(await store.commit(onlyOnce), { committed: false, revision: 1, mismatches: ['a'] });
        await write(store, del('a'));
        assert.deepEqual(await store.commit(onlyOnce), { committed: true, revision: 3 });
        assert.equal((await store.get('a'))?.createRevision, 3);
      }));

    it('compare with the exact revision of the last change and name every key that does not hold, once', () =>
      withStore(open, async ({ store }) => {
        await write(store, put('a'), put('b'));
        await write(store, put('b', '2'));
        const result = await store.commit({
          compare: [
            { key: 'a', revision: 1 },
            { key: 'b', revision: 1 },
            { key: 'b', revision: 3 },
            { key: 'c', revision: 2 },
          ],
          writes: [put('a', 'changed'), put('d')],
        });
        assert.deepEqual(result, { committed: false, revision: 2, mismatches: ['b', 'c'] });
        assert.equal((await store.get('a'))?.value, 'v');
        assert.equal(await store.get('d'), undefined);
      }));

    it('compare with existence whatever the revision', () =>
      withStore(open, async ({ store }) => {
        const ifThere = { compare: [{ key: 'a', exists: true as const }], writes: [put('b')] };
        assert.deepEqual(await store.commit(ifThere), { committed: false, revision: 0, mismatches: ['a'] });
        await write(store, put('a'));
        assert.deepEqual(await store.commit(ifThere), { committed: true, revision: 2 });
      }));

    it('without an effect take no revision', () =>
      withStore(open, async ({ store }) => {
        await write(store, put('a'));
        assert.deepEqual(await write(store, del('nothing')), { committed: true, revision: 1 });
        assert.deepEqual(await store.commit({ compare: [{ key: 'a', revision: 1 }], writes: [] }), { committed: true, revision: 1 });
        assert.deepEqual(await write(store, put('b')), { committed: true, revision: 2 });
      }));

    it('give back any well-formed text', () =>
      withStore(open, async ({ store, reopen }) => {
        const values = ['', '\u0000', 'a\u0000b', '😀 ü', '"\\\n', '\u{10ffff}\ufffd'];
        await write(store, ...values.map((value, index) => put(`k/${index} ü😀`, value)));
        const readBack = async (from: Store): Promise<string[]> => (await from.list({ prefix: 'k/' })).entries.map((entry) => entry.value);
        assert.deepEqual(await readBack(store), values);
        if (reopen !== undefined) assert.deepEqual(await readBack(await reopen()), values);
      }));

    it('made at the same time lose no update', () =>
      withStore(open, async ({ store }) => {
        await write(store, put('counter', '0'));
        const increment = async (): Promise<void> => {
          for (;;) {
            const current = await store.get('counter');
            assert.ok(current);
            const next = put('counter', String(Number(current.value) + 1));
            if ((await store.commit({ compare: [{ key: 'counter', revision: current.revision }], writes: [next] })).committed) return;
          }
        };
        await Promise.all(Array.from({ length: 30 }, increment));
        assert.equal((await store.get('counter'))?.value, '30');
        assert.equal((await store.get('counter'))?.revision, 31);
      }));
  });
}

function reopenContract(open: OpenStore): void {
  describe('commits of a durable engine', DEADLINE, () => {
    it('survive closing and reopening, history included', () =>
      withStore(open, async ({ store, reopen }) => {
        assert.ok(reopen);
        await write(store, put('a', '1'), put('b', '1'));
        await write(store, del('a'));
        const again = await reopen();
        assert.deepEqual(await keysOf(again), ['b']);
        assert.deepEqual(await write(again, put('c')), { committed: true, revision: 3 });
        const batches = await take(again, 1, 3);
        assert.deepEqual(
          batches.map((batch) => batch.changes.map((change) => change.kind)),
          [['put', 'put'], ['delete'], ['put']],
        );
      }));
  });
}

function listContract(open: OpenStore): void {
  describe('lists', DEADLINE, () => {
    it('hold the keys of the prefix in the byte order of UTF-8', () =>
      withStore(open, async ({ store }) => {
        const sorted = ['p/', 'p/A', 'p/a', 'p/a/b', 'p/aa', 'p/é', 'p/\uffee', 'p/😀'];
        await write(store, ...[...sorted].reverse().map((key) => put(key)), put('o'), put('p'), put('p0'), put('q'));
        assert.deepEqual(await keysOf(store, 'p/'), sorted);
        assert.deepEqual(await keysOf(store, 'none'), []);
        assert.equal((await keysOf(store)).length, sorted.length + 4);
      }));

    it('page after the last key, at most 1,000 at a time', () =>
      withStore(open, async ({ store }) => {
        const keys = Array.from({ length: 1050 }, (_, index) => `k/${String(index).padStart(4, '0')}`);
        for (let at = 0; at < keys.length; at += 100) await write(store, ...keys.slice(at, at + 100).map((key) => put(key)));
        const first = await store.list({ prefix: 'k/' });
        assert.equal(first.entries.length, STORE_LIMITS.page);
        assert.equal(first.more, true);
        const rest = await store.list({ prefix: 'k/', after: first.entries.at(-1)?.key });
        assert.deepEqual(
          [...first.entries, ...rest.entries].map((entry) => entry.key),
          keys,
        );
        assert.equal(rest.more, false);
        const small = await store.list({ prefix: 'k/', after: 'k/0004', limit: 3 });
        assert.deepEqual(
          small.entries.map((entry) => entry.key),
          ['k/0005', 'k/0006', 'k/0007'],
        );
        assert.equal((await store.list({ prefix: 'k/', limit: 1050 })).entries.length, STORE_LIMITS.page);
        assert.equal((await store.list({ prefix: 'k/', after: 'a' })).entries[0]?.key, 'k/0000');
        assert.equal((await store.list({ prefix: 'k/', limit: 1050, after: 'k/1048' })).more, false);
      }));

    it('show one revision: never half a commit', () =>
      withStore(open, async ({ store }) => {
        const writing = Array.from({ length: 40 }, (_, index) => write(store, put('x/1', String(index)), put('x/2', String(index))));
        for (let reading = 0; reading < 40; reading += 1) {
          const page = await store.list({ prefix: 'x/' });
          assert.equal(page.entries[0]?.value, page.entries[1]?.value);
          assert.equal(page.entries[0]?.revision ?? 0, page.revision);
        }
        await Promise.all(writing);
      }));

    it('read in pages while others write are completed by a watch from the first page on', () =>
      withStore(open, async ({ store }) => {
        for (let index = 0; index < 60; index += 1) await write(store, put(`k/${index}`, '0'));
        const state = new Map<string, string>();
        let from = 0;
        let after: string | undefined;
        for (let page = 0; ; page += 1) {
          const { entries, revision, more } = await store.list({ prefix: 'k/', after, limit: 7 });
          if (page === 0) from = revision + 1;
          for (const entry of entries) state.set(entry.key, entry.value);
          await write(store, put(`k/${page * 5}`, 'new'), del(`k/${59 - page}`), put(`k/more${page}`));
          after = entries.at(-1)?.key;
          if (!more) break;
        }
        const { revision } = await store.list({ prefix: '' });
        for (const batch of await take(store, from, revision - from + 1)) {
          for (const change of batch.changes) {
            if (change.kind === 'put') state.set(change.entry.key, change.entry.value);
            else state.delete(change.key);
          }
        }
        const truth = (await store.list({ prefix: 'k/' })).entries;
        assert.deepEqual(new Map(truth.map((entry) => [entry.key, entry.value])), new Map([...state].sort(([a], [b]) => (a < b ? -1 : 1))));
      }));
  });
}

function watchContract(open: OpenStore, { remote = false }: EngineUnderTest): void {
  describe('watches', DEADLINE, () => {
    it('start at any kept revision and go on live, without gaps or repetitions, under concurrent commits', () =>
      withStore(open, async ({ store }) => {
        const total = 240;
        const commits = async (): Promise<void> => {
          for (let round = 0; round < 8; round += 1) {
            await Promise.all(Array.from({ length: 30 }, (_, index) => write(store, put(`k/${index}`, `${round}`))));
          }
        };
        const [, ...watched] = await Promise.all([commits(), ...[1, 2, 60, 200].map((from) => take(store, from, total - from + 1))]);
        for (const [index, from] of [1, 2, 60, 200].entries()) {
          assert.deepEqual(
            watched[index]?.map((batch) => batch.revision),
            Array.from({ length: total - from + 1 }, (_, offset) => from + offset),
          );
        }
        assert.deepEqual(watched[0]?.slice(199), watched[3]);
      }));

    it('read through a long history, from its beginning to the newest', () =>
      withStore(open, async ({ store, reopen }) => {
        const total = 1500;
        await inOrder(
          remote,
          Array.from({ length: total }, (_, index) => () => write(store, put(`k/${index % 7}`, String(index)), put('last', String(index)))),
        );
        const read = async (from: Store): Promise<void> => {
          const batches = await take(from, 1, total);
          assert.deepEqual(
            batches.map(({ revision, changes }) => [
              revision,
              changes.map((change) => (change.kind === 'put' ? change.entry.value : null)),
            ]),
            Array.from({ length: total }, (_, index) => [index + 1, [String(index), String(index)]]),
          );
        };
        await read(store);
        if (reopen !== undefined) await read(await reopen());
      }));

    it('never split a commit, and show only what is under the prefix', () =>
      withStore(open, async ({ store }) => {
        await write(store, put('a/1'), put('b/1'), put('a/2'));
        await write(store, put('b/2'));
        await write(store, del('a/1'), put('a/3', 'x'));
        assert.deepEqual(await take(store, 1, 2, 'a/'), [
          {
            revision: 1,
            changes: [
              { kind: 'put', entry: { key: 'a/1', value: 'v', createRevision: 1, revision: 1, leaseId: null } },
              { kind: 'put', entry: { key: 'a/2', value: 'v', createRevision: 1, revision: 1, leaseId: null } },
            ],
          },
          {
            revision: 3,
            changes: [
              { kind: 'delete', key: 'a/1', revision: 3 },
              { kind: 'put', entry: { key: 'a/3', value: 'x', createRevision: 3, revision: 3, leaseId: null } },
            ],
          },
        ]);
      }));

    it('wait for a revision that is still to come', () =>
      withStore(open, async ({ store }) => {
        const batches = take(store, 3, 1);
        for (const key of ['a', 'b', 'c']) await write(store, put(key));
        assert.deepEqual(
          (await batches).map((batch) => batch.revision),
          [3],
        );
      }));

    it('from a revision that is no longer kept fail with compacted', () =>
      withStore(
        open,
        async ({ store }) => {
          for (let index = 1; index <= 1000; index += 1) await write(store, put('k', String(index)));
          await rejectsWith(take(store, 1, 1), 'compacted');
          assert.equal((await take(store, 992, 9)).length, 9);
          assert.equal((await store.get('k'))?.value, '1000');
        },
        { keepRevisions: 10 },
      ));

    // Another machine holds such a reader back itself.
    if (!remote)
      it('that fall too far behind get compacted instead of a growing memory', () =>
        withStore(
          open,
          async ({ store }) => {
            await write(store, put('k', '0'));
            const controller = new AbortController();
            const watch = store.watch({ prefix: '', fromRevision: 1, signal: controller.signal })[Symbol.asyncIterator]();
            assert.equal((await watch.next()).value?.revision, 1);
            for (let index = 1; index <= 1000; index += 1) await write(store, put('k', String(index)));
            const reading = async (): Promise<void> => {
              while ((await watch.next()).done !== true);
            };
            await rejectsWith(reading(), 'compacted');
            controller.abort();
          },
          { keepRevisions: 10 },
        ));

    it('end when their signal aborts: before, while waiting, and between batches', () =>
      withStore(open, async ({ store }) => {
        await write(store, put('a'));
        await write(store, put('b'));
        assert.deepEqual(await collect(store, AbortSignal.abort(), 1), []);
        const waiting = new AbortController();
        const nothing = collect(store, waiting.signal, 3);
        setImmediate(() => waiting.abort());
        assert.deepEqual(await nothing, []);
        const between = new AbortController();
        assert.equal((await collect(store, between.signal, 1, () => between.abort())).length, 1);
      }));
  });
}

async function collect(store: Store, signal: AbortSignal, fromRevision: number, onBatch?: () => void): Promise<ChangeBatch[]> {
  const batches: ChangeBatch[] = [];
  for await (const batch of store.watch({ prefix: '', fromRevision, signal })) {
    batches.push(batch);
    onBatch?.();
  }
  return batches;
}

function boundsContract(open: OpenStore, { remote = false }: EngineUnderTest): void {
  describe('bounds', DEADLINE, () => {
    const many = <T>(count: number, make: (index: number) => T): T[] => Array.from({ length: count }, (_, index) => make(index));

    it('are 100 comparisons and 100 writes', () =>
      withStore(open, async ({ store }) => {
        const compare = many(100, (index) => ({ key: `k/${index}`, revision: 0 }));
        const writes = many(100, (index) => put(`k/${index}`));
        await rejectsWith(store.commit({ compare: [...compare, { key: 'x', revision: 0 }], writes }), 'too_large');
        await rejectsWith(store.commit({ compare, writes: [...writes, put('x')] }), 'too_large');
        assert.deepEqual(await keysOf(store), []);
        assert.equal((await store.commit({ compare, writes })).committed, true);
      }));

    it('are 256 KiB a value, counted in bytes of UTF-8', () =>
      withStore(open, async ({ store }) => {
        const wide = '€'.repeat(STORE_LIMITS.valueBytes / 3);
        await rejectsWith(write(store, put('k', `${wide}12`)), 'too_large');
        assert.equal((await write(store, put('k', `${wide}1`))).committed, true);
        assert.equal((await store.get('k'))?.value, `${wide}1`);
      }));

    it('are 1 MiB a commit, keys included', () =>
      withStore(open, async ({ store }) => {
        const value = 'v'.repeat(STORE_LIMITS.valueBytes - 1);
        const four = many(4, (index) => put(String(index), value));
        await rejectsWith(store.commit({ compare: [{ key: 'x', revision: 0 }], writes: four }), 'too_large');
        assert.equal((await write(store, ...four)).committed, true);
      }));

    it('are 1,024 bytes a key, of well-formed text without control characters', () =>
      withStore(open, async ({ store }) => {
        for (const key of ['', 'k'.repeat(1025), 'é'.repeat(513), 'a\nb', 'a\u0000', '\ud800', 'a\u{10ffff}']) {
          await rejectsWith(write(store, put(key)), 'invalid_input');
          await rejectsWith(store.commit({ compare: [{ key, revision: 0 }], writes: [] }), 'invalid_input');
        }
        await rejectsWith(write(store, put('k', '\udfff')), 'invalid_input');
        assert.equal((await write(store, put('é'.repeat(512)))).committed, true);
      }));

    it('hold for what waits: more than the store can take at once is refused or kept, never half', () =>
      withStore(open, async ({ store }) => {
        const value = 'v'.repeat(200_000);
        const writes = (index: number): Write[] => [1, 2, 3, 4].map((part) => put(`${index}/${part}`, value));
        const results = await Promise.allSettled(many(120, (index) => write(store, ...writes(index))));
        for (const [index, result] of results.entries()) {
          const { entries } = await store.list({ prefix: `${index}/` });
          // Where no answer came in time it may have been done.
          const isUnknown = remote && result.status === 'rejected' && isFailure(result.reason, 'unavailable');
          if (isUnknown) assert.ok(entries.length === 0 || entries.length === 4);
          else assert.equal(entries.length, result.status === 'fulfilled' ? 4 : 0);
          if (result.status === 'rejected') assert.ok(isUnknown || isFailure(result.reason, 'rate_limited'));
        }
        assert.equal((await write(store, put('after'))).committed, true);
      }));

    it('forbid writing a key twice in one commit', () =>
      withStore(open, async ({ store }) => {
        await rejectsWith(write(store, put('a'), del('a')), 'invalid_input');
      }));
  });
}

function closeContract(open: OpenStore): void {
  describe('closing', DEADLINE, () => {
    it('ends watches, answers what is under way, and refuses what comes later', () =>
      withStore(open, async ({ store }) => {
        const watching = collect(store, new AbortController().signal, 2);
        const commits = ['a', 'b', 'c'].map((key) => write(store, put(key)));
        await store.close();
        await store.close();
        assert.deepEqual(
          (await Promise.all(commits)).map((result) => result.committed),
          [true, true, true],
        );
        await watching;
        await rejectsWith(write(store, put('d')), 'unavailable');
        await rejectsWith(store.get('a'), 'unavailable');
        await rejectsWith(store.list({ prefix: '' }), 'unavailable');
        await rejectsWith(take(store, 1, 1), 'unavailable');
        await rejectsWith(store.lease({ ttlMs: 5000 }), 'unavailable');
      }));
  });
}
