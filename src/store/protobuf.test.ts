import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { bytes, decode, encode, flag, id, int, many, one, shape, text } from './protobuf.ts';

const inner = shape({ name: text(1), size: int(2) });
const all = shape({
  name: text(1),
  raw: bytes(2),
  count: int(3),
  lease: id(4),
  on: flag(16),
  inner: one(5, inner),
  list: many(2047, inner),
});

const hex = (buffer: Uint8Array): string => Buffer.from(buffer).toString('hex');

test('messages are those of the published examples', () => {
  assert.equal(hex(encode(shape({ a: int(1) }), { a: 150 })), '089601');
  assert.equal(hex(encode(shape({ b: text(2) }), { b: 'testing' })), '120774657374696e67');
  assert.equal(hex(encode(shape({ c: one(3, shape({ a: int(1) })) }), { c: { a: 150 } })), '1a03089601');
  assert.equal(hex(encode(shape({ a: int(1) }), { a: -2 })), '08feffffffffffffffff01');
  assert.equal(hex(encode(shape({ e: many(5, shape({ a: int(1) })) }), { e: [{ a: 1 }, { a: 2 }] }, 2).subarray(2)), '2a0208012a020802');
});

test('what is written is read again, whatever it is', () => {
  const plain = { noNullPrototype: true };
  const ofInner = fc.record({ name: fc.string({ unit: 'binary' }), size: fc.maxSafeInteger() }, plain);
  const message = fc.record({
    name: fc.string({ unit: 'binary', maxLength: 3000 }),
    raw: fc.uint8Array({ maxLength: 200 }),
    count: fc.maxSafeInteger(),
    lease: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String),
    on: fc.boolean(),
    inner: fc.option(ofInner),
    list: fc.array(ofInner),
  });
  fc.assert(
    fc.property(message, (value) => {
      const { raw, ...rest } = decode(all, encode(all, value));
      assert.deepEqual(rest, {
        name: value.name,
        count: value.count,
        lease: value.lease,
        on: value.on,
        inner: value.inner,
        list: value.list,
      });
      assert.deepEqual(Buffer.from(raw), Buffer.from(value.raw));
    }),
  );
});

test('what is not said is empty, and what a shape does not name is passed over', () => {
  assert.deepEqual(decode(inner, Buffer.alloc(0)), { name: '', size: 0 });
  const said = encode(all, { name: 'x', raw: new Uint8Array(5), count: 7, lease: '9223372036854775807', inner: { name: 'y' }, list: [{}] });
  assert.deepEqual(decode(shape({ count: int(3) }), said), { count: 7 });
  // Of the kinds that no shape has: eight bytes, and four.
  const fixed = Buffer.concat([Buffer.from('4101020304050607084d01020304', 'hex'), encode(inner, { size: 3 })]);
  assert.deepEqual(decode(inner, fixed), { name: '', size: 3 });
});

test('a message that is broken off or of other kinds is none', () => {
  const said = encode(inner, { name: 'abc', size: 300 });
  for (let length = 1; length < said.length; length += 1) {
    // Cut between two fields it is a whole one.
    if (length !== 5) assert.throws(() => decode(inner, said.subarray(0, length)), `of ${length} bytes`);
  }
  assert.throws(() => decode(inner, Buffer.from('0b', 'hex')), 'a group');
  assert.throws(() => decode(inner, Buffer.from('1203616263', 'hex')), 'a text for a number');
  assert.throws(() => decode(inner, Buffer.alloc(20, 255)), 'a number without an end');
});
