import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { RouteGroup, RouteRule, RouteTable, TableMessage } from '../api/dataplane.ts';
import { routeKey } from '../model/route-match.ts';
import { group, rule } from '../edge/edge-fixture.ts';
import { createTableState } from './table-state.ts';

const empty: RouteTable = { rules: [], groups: [] };
const delta = (sequence: number, more: Partial<Extract<TableMessage, { type: 'delta' }>> = {}): TableMessage => ({
  type: 'delta',
  sequence,
  putGroups: [],
  removeGroups: [],
  ...more,
});

test('a delta counts only right after its predecessor', () => {
  const state = createTableState();
  assert.equal(state.apply(delta(1)), 'gap');
  assert.equal(state.kept(), null);
  state.apply({ type: 'snapshot', sequence: 4, table: empty });
  assert.equal(state.apply(delta(4)), 'gap');
  assert.equal(state.apply(delta(6)), 'gap');
  assert.notEqual(state.apply(delta(5)), 'gap');
  assert.equal(state.sequence(), 5);
  assert.equal(state.apply({ type: 'ping' }), null);
});

test('a snapshot replaces everything, even by an older sequence, and tells what is over', () => {
  const state = createTableState();
  state.apply({ type: 'snapshot', sequence: 9, table: { rules: [rule('a', 'a')], groups: [group('a', [])] } });
  const change = state.apply({ type: 'snapshot', sequence: 1, table: empty });
  assert.ok(change !== null && change !== 'gap');
  assert.deepEqual([change.removeRules, change.removeGroups], [[routeKey(rule('a', 'a'))], ['a']]);
  assert.deepEqual(state.kept(), { sequence: 1, table: empty });
});

test('any run of messages leads to what maps would hold, and so do the changes that it tells of', () => {
  const id = fc.constantFrom('a', 'b', 'c', 'd');
  const groupOf = fc.record({ id, state: fc.constantFrom<RouteGroup['state']>('serving', 'down') });
  const step = fc.record({
    snapshot: fc.boolean(),
    put: fc.array(groupOf, { maxLength: 3 }),
    remove: fc.array(id, { maxLength: 2 }),
    putRules: fc.array(fc.tuple(id, id), { maxLength: 3 }),
    removeRules: fc.array(id, { maxLength: 2 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const state = createTableState();
      state.apply({ type: 'snapshot', sequence: 0, table: empty });
      let groups = new Map<string, RouteGroup>();
      let rules = new Map<string, RouteRule>();
      const followed = new Map<string, RouteRule>();
      for (const [index, each] of steps.entries()) {
        const putGroups = each.put.map((one) => group(one.id, [], one.state));
        const putRules = each.putRules.map(([host, to]) => rule(host, to));
        const removeRules = each.removeRules.map((host) => routeKey(rule(host, '')));
        if (each.snapshot) {
          groups = new Map();
          rules = new Map();
        } else {
          for (const gone of each.remove) groups.delete(gone);
          for (const key of removeRules) rules.delete(key);
        }
        for (const one of putGroups) groups.set(one.id, one);
        for (const one of putRules) rules.set(routeKey(one), one);
        const change = state.apply(
          each.snapshot
            ? { type: 'snapshot', sequence: index + 1, table: { rules: putRules, groups: putGroups } }
            : delta(index + 1, { putGroups, removeGroups: each.remove, putRules, removeRules }),
        );
        assert.ok(change !== null && change !== 'gap');
        for (const key of change.removeRules) followed.delete(key);
        for (const [key, one] of change.putRules) followed.set(key, one);
      }
      const kept = state.kept();
      assert.deepEqual(new Map(kept?.table.groups.map((one) => [one.id, one])), groups);
      assert.deepEqual(new Map(kept?.table.rules.map((one) => [routeKey(one), one])), rules);
      assert.deepEqual(followed, rules);
    }),
  );
});
