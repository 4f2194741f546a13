import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { Operation } from '../../store/collection.ts';
import { gatherWrites } from './gathered-writes.ts';

interface Commits {
  readonly commit: (...operations: readonly Operation[]) => Promise<number>;
  readonly batches: string[][];
  /** Ends the oldest commit that is under way. */
  finish(error?: Error): void;
}

function createCommits(): Commits {
  const underWay: PromiseWithResolvers<number>[] = [];
  const batches: string[][] = [];
  return {
    batches,
    commit: (...operations) => {
      batches.push(operations.flatMap(({ writes }) => writes.map((write) => `${write.key}=${write.kind === 'put' ? write.value : ''}`)));
      const under = Promise.withResolvers<number>();
      underWay.push(under);
      return under.promise;
    },
    finish: (error) => {
      const under = underWay.shift();
      if (error === undefined) under?.resolve(1);
      else under?.reject(error);
    },
  };
}

const putting = (key: string, value: string) => (): Operation => ({ compare: [], writes: [{ kind: 'put', key, value }] });
const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
};

test('what comes while a commit is under way goes with the next, the newest of each key once', async () => {
  const commits = createCommits();
  const gathered = gatherWrites(commits);
  const first = [gathered.write('a', putting('a', '1')), gathered.write('b', putting('b', '1'))];
  await turns();
  assert.deepEqual(commits.batches, [['a=1', 'b=1']]);
  const second = [gathered.write('a', putting('a', '2')), gathered.write('a', putting('a', '3')), gathered.write('c', () => null)];
  await turns();
  assert.equal(commits.batches.length, 1);
  commits.finish();
  await Promise.all(first);
  await turns();
  assert.deepEqual(commits.batches[1], ['a=3']);
  commits.finish();
  await Promise.all(second);
});

test('full commits go beside each other, what is written of one key does not', async () => {
  const commits = createCommits();
  const gathered = gatherWrites(commits);
  const all = Array.from({ length: 100 }, (_unused, index) => gathered.write(`k${index}`, putting(`k${index}`, '1')));
  await turns();
  assert.deepEqual(
    commits.batches.map(({ length }) => length),
    [90],
  );
  all.push(...Array.from({ length: 100 }, (_unused, index) => gathered.write(`k${index + 50}`, putting(`k${index + 50}`, '2'))));
  await turns();
  assert.equal(commits.batches.length, 2);
  const [first = [], second = []] = commits.batches;
  const keysOf = (batch: readonly string[]): string[] => batch.map((write) => write.slice(0, write.indexOf('=')));
  assert.deepEqual(new Set(keysOf(first)).intersection(new Set(keysOf(second))), new Set());
  for (let left = 4; left > 0; left -= 1) {
    commits.finish();
    await turns();
  }
  await Promise.all(all);
});

test('groups take turns', async () => {
  const commits = createCommits();
  const gathered = gatherWrites(commits);
  const all = Array.from({ length: 1600 }, (_unused, index) => gathered.write(`k${index}`, putting(`k${index}`, '1'), 'many'));
  await turns();
  assert.equal(commits.batches.length, 8);
  const one = gathered.write('one', putting('one', '1'), 'few');
  commits.finish();
  await turns();
  assert.ok(commits.batches[8]?.includes('one=1'));
  for (let left = 20; left > 0; left -= 1) {
    commits.finish();
    await turns();
  }
  await Promise.all([...all, one]);
});

test('a commit that fails fails those that went with it and no others, as does one that cannot be built', async () => {
  const commits = createCommits();
  const gathered = gatherWrites(commits);
  const lost = gathered.write('a', putting('a', '1'));
  const broken = gathered.write('b', () => {
    throw new Error('no such thing');
  });
  await turns();
  const later = gathered.write('c', putting('c', '1'));
  commits.finish(new Error('the disk is full'));
  await assert.rejects(lost, /the disk is full/u);
  await assert.rejects(broken, /no such thing/u);
  await turns();
  commits.finish();
  await later;
  assert.deepEqual(commits.batches, [['a=1'], ['c=1']]);
});

test('every write ends, commits keep to their bounds, and the last of each key is the one that stays', async () => {
  const write = fc.record({ key: fc.integer({ min: 0, max: 400 }), size: fc.constantFrom(1, 100, 100_000) });
  await fc.assert(
    fc.asyncProperty(fc.array(write, { maxLength: 600 }), async (writes) => {
      const kept = new Map<string, string>();
      let [commits, underWay] = [0, 0];
      const gathered = gatherWrites({
        commit: async (...operations) => {
          commits += 1;
          underWay += 1;
          assert.ok(underWay <= 8);
          // Some last longer than others that begin later.
          for (let turn = (commits * 7) % 5; turn >= 0; turn -= 1) await Promise.resolve();
          underWay -= 1;
          const size = operations.reduce((sum, { writes: [first] }) => sum + (first?.kind === 'put' ? first.value.length : 0), 0);
          assert.ok(operations.length <= 90 && (operations.length === 1 || size <= 300_000));
          for (const { writes: all } of operations) for (const each of all) kept.set(each.key, each.kind === 'put' ? each.value : '');
          return 1;
        },
      });
      const last = new Map<string, string>();
      await Promise.all(
        writes.map(({ key, size }, index) => {
          const value = `${index}`.padEnd(size, '.');
          last.set(String(key), value);
          return gathered.write(String(key), putting(String(key), value));
        }),
      );
      assert.deepEqual(kept, last);
    }),
    { numRuns: 50 },
  );
});
