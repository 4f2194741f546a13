import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createHexSource, createSeededRandom, idsFrom, newId } from './id.ts';

test('hexadecimal digits come in the order of the source, whatever pieces they are asked in', () => {
  const bytes = createSeededRandom(3).bytes(2_048);
  const all = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  const hex = createHexSource(createSeededRandom(3));
  assert.equal(hex(1) + hex(32) + hex(16), all.slice(0, 49));
});

test('no digits are given twice where the pool ends', () => {
  const hex = createHexSource();
  const seen = new Set(Array.from({ length: 5_000 }, () => hex(32)));
  assert.equal(seen.size, 5_000);
  for (const id of seen) assert.match(id, /^[0-9a-f]{32}$/u);
});

test('the ids that follow one are always the same, and none is another one', () => {
  const first = newId();
  const ids = idsFrom(first, 300);
  assert.equal(ids[0], first);
  assert.deepEqual(idsFrom(first, 300), ids);
  assert.equal(new Set(ids).size, 300);
  assert.deepEqual(idsFrom('0190c0de-0000-7000-8000-fffffffffffe', 3).slice(1), [
    '0190c0de-0000-7000-8000-ffffffffffff',
    '0190c0de-0000-7000-8000-000000000000',
  ]);
});
