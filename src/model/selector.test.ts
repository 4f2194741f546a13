import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { formatSelector, matchesSelector, parseSelector, selectorOf } from './selector.ts';
import type { Labels, Requirement, Selector } from './selector.ts';

function parsed(text: string): Selector {
  const result = parseSelector(text);
  assert.ok(result.ok, text);
  return result.selector;
}

test('a selector is read with equality, sets, presence and absence', () => {
  assert.deepEqual(parsed('disk=ssd, zone!=b,tier in (b, a), arch notin (arm64),gpu,!old'), [
    { key: 'disk', operator: 'in', values: ['ssd'] },
    { key: 'zone', operator: 'not-in', values: ['b'] },
    { key: 'tier', operator: 'in', values: ['a', 'b'] },
    { key: 'arch', operator: 'not-in', values: ['arm64'] },
    { key: 'gpu', operator: 'exists' },
    { key: 'old', operator: 'absent' },
  ]);
  assert.deepEqual(parsed(''), []);
});

test('every requirement must hold; negative ones hold where the label is missing', () => {
  const labels: Labels = { disk: 'ssd', tier: 'a' };
  for (const text of ['', 'disk=ssd', 'disk==ssd', 'tier in (a,b)', 'zone!=b', 'zone notin (a)', '!zone', 'disk,tier'])
    assert.ok(matchesSelector(parsed(text), labels), text);
  for (const text of ['disk=hdd', 'disk!=ssd', 'tier in (b,c)', 'zone=b', 'zone', '!disk', 'disk=ssd,zone'])
    assert.ok(!matchesSelector(parsed(text), labels), text);
});

test('names of Object.prototype are no labels that everything has', () => {
  assert.ok(!matchesSelector(parsed('constructor'), {}));
  assert.ok(matchesSelector(parsed('!toString'), {}));
});

test('what is no selector is refused with the part that is wrong', () => {
  for (const [text, at] of [
    ['a=b=c', 'a=b=c'],
    ['a,', ''],
    ['x in a', 'x in a'],
    ['a,b in (c', 'b in (c'],
    ['-a=b', '-a=b'],
    ['a=b c', 'a=b c'],
  ] as const) {
    const result = parseSelector(text);
    assert.ok(!result.ok, text);
    assert.equal(result.at, at);
  }
});

const key = fc.stringMatching(/^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,10}[A-Za-z0-9])?$/u);
const value = fc.stringMatching(/^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,10}[A-Za-z0-9])?$/u);
const requirement: fc.Arbitrary<Requirement> = fc.oneof(
  fc.record(
    {
      key,
      operator: fc.constantFrom('in' as const, 'not-in' as const),
      values: fc.uniqueArray(value, { minLength: 1, maxLength: 4 }).map((values) => values.toSorted()),
    },
    { noNullPrototype: true },
  ),
  fc.record({ key, operator: fc.constantFrom('exists' as const, 'absent' as const) }, { noNullPrototype: true }),
);

test('a printed selector parses back to the same selector', () => {
  fc.assert(
    fc.property(fc.array(requirement, { maxLength: 5 }), (selector) => assert.deepEqual(parsed(formatSelector(selector)), selector)),
  );
});

test('no text at all makes the parser throw, and what it accepts survives printing', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom('a', '=', '!', ',', '(', ')', ' ', 'in', 'notin') })), (text) => {
      const result = parseSelector(text);
      if (result.ok) assert.deepEqual(parsed(formatSelector(result.selector)), result.selector);
    }),
  );
});

test('plain labels make a selector that only holds where all of them are', () => {
  const selector = selectorOf({ disk: 'ssd', zone: 'a' });
  assert.ok(matchesSelector(selector, { disk: 'ssd', zone: 'a', more: 'x' }));
  assert.ok(!matchesSelector(selector, { disk: 'ssd' }));
});
