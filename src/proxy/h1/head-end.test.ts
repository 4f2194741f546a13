import assert from 'node:assert/strict';
import { test } from 'node:test';
import { array, assert as check, constantFrom, nat, oneof, property } from 'fast-check';
import { headEnd } from './head-end.ts';

test('the end of a head is where a search finds it, whatever the bytes', () => {
  const byte = oneof(constantFrom(13, 10), constantFrom(13, 10, 65), nat(255));
  check(
    property(array(byte, { maxLength: 40 }), nat(8), (bytes, from) => {
      const data = Buffer.from(bytes);
      assert.equal(headEnd(data, from), data.indexOf('\r\n\r\n', from, 'latin1'));
    }),
    { numRuns: 3_000 },
  );
  assert.equal(headEnd(Buffer.from('GET / HTTP/1.1\r\n\r\nx'), 0), 14);
});
