// The part of the store contract that compares an engine with a plain Map under random transactions, one after the other and at once.

import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { inOrder, take, withStore } from './contract-support.ts';
import type { ContractCase } from './contract-support.ts';
import type { ChangeBatch, CommitResult, Compare, Entry, Store, Transaction, Write } from './store.ts';

interface Model {
  revision: number;
  readonly entries: Map<string, Entry>;
  readonly history: ChangeBatch[];
}

/** What etcd's documentation says a transaction does, as plainly as possible. */
function commitToModel(model: Model, transaction: Transaction): CommitResult {
  const mismatches: string[] = [];
  for (const comparison of transaction.compare) {
    const entry = model.entries.get(comparison.key);
    const holds = 'exists' in comparison ? entry !== undefined : comparison.revision === (entry === undefined ? 0 : entry.revision);
    if (!holds && !mismatches.includes(comparison.key)) mismatches.push(comparison.key);
  }
  if (mismatches.length > 0) return { committed: false, revision: model.revision, mismatches };
  const writes = transaction.writes.filter((write) => write.kind === 'put' || model.entries.has(write.key));
  if (writes.length === 0) return { committed: true, revision: model.revision };
  model.revision += 1;
  const { revision } = model;
  model.history.push({
    revision,
    changes: writes.map((write) => {
      if (write.kind === 'delete') {
        model.entries.delete(write.key);
        return { kind: 'delete', key: write.key, revision };
      }
      const createRevision = model.entries.get(write.key)?.createRevision ?? revision;
      const entry: Entry = { key: write.key, value: write.value, createRevision, revision, leaseId: null };
      model.entries.set(write.key, entry);
      return { kind: 'put', entry };
    }),
  });
  return { committed: true, revision };
}

const key = fc.constantFrom('a', 'b', 'b/1', 'c', 'é', '😀');
const comparison: fc.Arbitrary<Compare> = fc.oneof(
  fc.record({ key, revision: fc.nat(12) }),
  fc.record({ key, revision: fc.constant(0) }),
  fc.record({ key, exists: fc.constant(true as const) }),
);
const oneWrite: fc.Arbitrary<Write> = fc.oneof(
  fc.record({ kind: fc.constant('put' as const), key, value: fc.string({ unit: 'grapheme' }) }),
  fc.record({ kind: fc.constant('delete' as const), key }),
);
const transaction: fc.Arbitrary<Transaction> = fc.record({
  compare: fc.array(comparison, { maxLength: 2 }),
  writes: fc.uniqueArray(oneWrite, { maxLength: 4, selector: (write) => write.key }),
});
/** Groups of transactions that are committed at the same time. */
const schedule = fc.array(fc.array(transaction, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 8 });

export const modelCases: readonly ContractCase[] = [
  {
    name: 'give what a plain map gives: results, entries and history',
    run: async (open, remote) => {
      await fc.assert(
        fc.asyncProperty(schedule, (groups) =>
          withStore(open, async ({ store, reopen }) => {
            const model: Model = { revision: 0, entries: new Map(), history: [] };
            for (const group of groups) {
              assert.deepEqual(
                await inOrder(
                  remote,
                  group.map((item) => () => store.commit(item)),
                ),
                group.map((item) => commitToModel(model, item)),
              );
            }
            const check = async (current: Store): Promise<void> => {
              const list = await current.list({ prefix: '' });
              assert.equal(list.revision, model.revision);
              assert.deepEqual(new Map(list.entries.map((entry) => [entry.key, entry])), model.entries);
              assert.deepEqual(await take(current, 1, model.history.length), model.history);
            };
            await check(store);
            if (reopen !== undefined) await check(await reopen());
          }),
        ),
        { numRuns: 60 },
      );
    },
  },
];
