import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { Pieces } from './pieces.ts';

test('pieces stay in order, and small ones become few', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 3_000 }), { maxLength: 60 }), (lengths) => {
      const pieces = new Pieces();
      const all = lengths.map((length, index) => Buffer.alloc(length, index + 1));
      for (const piece of all) pieces.add(piece);
      assert.ok(Buffer.concat(pieces.list).equals(Buffer.concat(all)));
      assert.equal(pieces.bytes, Buffer.concat(all).length);
    }),
  );
  const bytes = new Pieces();
  for (let index = 0; index < 64 * 1_024; index += 1) bytes.add(Buffer.of(index & 0xff));
  assert.ok(bytes.list.length <= 18);
});
