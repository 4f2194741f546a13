import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { RouteGroup, RouteTable, TableMessage } from '../api/dataplane.ts';
import { group, rule } from './edge-fixture.ts';
import { applyMessage } from './table-state.ts';
import type { TableState } from './table-state.ts';

const empty: RouteTable = { rules: [], groups: [] };
const delta = (sequence: number, more: Partial<Extract<TableMessage, { type: 'delta' }>> = {}): TableMessage => ({
  type: 'delta',
  sequence,
  rules: null,
  putGroups: [],
  removeGroups: [],
  ...more,
});

test('a delta counts only right after its predecessor', () => {
  const state = applyMessage(null, { type: 'snapshot', sequence: 4, table: empty });
  assert.equal(applyMessage(null, delta(1)), null);
  assert.equal(applyMessage(state, delta(4)), null);
  assert.equal(applyMessage(state, delta(6)), null);
  assert.equal(applyMessage(state, delta(5))?.sequence, 5);
  assert.equal(applyMessage(state, { type: 'ping' }), state);
});

test('a snapshot replaces everything, even by an older sequence', () => {
  const state = applyMessage(null, { type: 'snapshot', sequence: 9, table: { rules: [rule('a', 'a')], groups: [group('a', [])] } });
  assert.deepEqual(applyMessage(state, { type: 'snapshot', sequence: 1, table: empty }), { sequence: 1, table: empty });
});

test('any run of deltas leads to the groups that a map would hold, and leaves rules alone where they are not named', () => {
  const groupOf = fc.record({ id: fc.constantFrom('a', 'b', 'c', 'd'), state: fc.constantFrom<RouteGroup['state']>('serving', 'down') });
  const step = fc.record({
    put: fc.array(groupOf, { maxLength: 3 }),
    remove: fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 2 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const rules = [rule('a', 'a')];
      let state: TableState | null = { sequence: 0, table: { rules, groups: [] } };
      const expected = new Map<string, RouteGroup>();
      steps.forEach(({ put, remove }, index) => {
        const putGroups = put.map((each) => group(each.id, [], each.state));
        state = applyMessage(state, delta(index + 1, { putGroups, removeGroups: remove }));
        for (const id of remove) expected.delete(id);
        for (const each of putGroups) expected.set(each.id, each);
      });
      assert.deepEqual(new Map(state.table.groups.map((each) => [each.id, each])), expected);
      assert.equal(state.table.rules, rules);
    }),
  );
});
