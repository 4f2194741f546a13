import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createJsonLineReader } from './json-lines.ts';

test('values arrive whole and in order however the bytes are cut', () => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue(), { maxLength: 8 }), fc.integer({ min: 1, max: 40 }), (values, size) => {
      const bytes = Buffer.from(values.map((value) => `${JSON.stringify(value)}\n`).join(''));
      const got: unknown[] = [];
      const reader = createJsonLineReader(1_000_000, (value) => got.push(value), assert.fail);
      for (let at = 0; at < bytes.length; at += size) reader.push(bytes.subarray(at, at + size));
      assert.deepEqual(JSON.stringify(got), JSON.stringify(values));
    }),
  );
});

test('a line that is too long or not JSON is told once, and nothing is read after it', () => {
  for (const text of [`"${'x'.repeat(100)}"\n1\n2\n`, 'nonsense\n1\n2\n']) {
    const got: unknown[] = [];
    const broken: string[] = [];
    const reader = createJsonLineReader(
      50,
      (value) => got.push(value),
      (why) => broken.push(why),
    );
    reader.push(Buffer.from(text));
    reader.push(Buffer.from('3\n'));
    assert.deepEqual(got, []);
    assert.equal(broken.length, 1);
  }
});
