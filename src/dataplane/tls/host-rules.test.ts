import assert from 'node:assert/strict';
import { test } from 'node:test';
import { routeKey } from '../../model/route-match.ts';
import { rule } from '../../edge/edge-fixture.ts';
import { createHostRules } from './host-rules.ts';

test('of several Routes of a host that of the oldest Environment counts, in whatever order they came', () => {
  for (const order of [
    ['b', 'a', 'c'],
    ['c', 'b', 'a'],
  ]) {
    const rules = createHostRules(({ group, policy }) => (policy === undefined ? undefined : group));
    const made = order.map((group) => ({ ...rule('*.Shop.example', group, `/${group}`), policy: {} }));
    assert.equal(rules.change(made, []), true);
    assert.equal(rules.change([rule('*.shop.example', 'plain')], ['unknown']), false);
    assert.deepEqual([rules.get('*.shop.example'), rules.get('shop.example'), rules.size], ['a', undefined, 3]);
    const [oldest] = made.filter(({ group }) => group === 'a');
    assert.ok(oldest !== undefined);
    // It says nothing of its host any longer.
    assert.equal(rules.change([rule('*.shop.example', 'a', '/a')], []), true);
    assert.equal(rules.get('*.shop.example'), 'b');
    assert.equal(rules.change([], made.map(routeKey)), true);
    assert.deepEqual([rules.get('*.shop.example'), rules.size], [undefined, 0]);
  }
});
