import assert from 'node:assert/strict';
import { it } from 'node:test';
import * as fc from 'fast-check';
import { compareKeys, lowerBound } from './key-order.ts';

const text = fc.string({ unit: fc.constantFrom('a', 'z', '/', 'é', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '😀'), maxLength: 4 });

it('keys sort as the bytes of their UTF-8 do', () => {
  fc.assert(
    fc.property(text, text, (a, b) => {
      assert.equal(Math.sign(compareKeys(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }),
    { numRuns: 2000 },
  );
});

it('the lower bound is the first key that is not less', () => {
  fc.assert(
    fc.property(fc.array(text), text, (keys, wanted) => {
      const sorted = [...keys].sort(compareKeys);
      const expected = sorted.findIndex((key) => compareKeys(key, wanted) >= 0);
      assert.equal(lowerBound(sorted, wanted), expected === -1 ? sorted.length : expected);
    }),
  );
});
