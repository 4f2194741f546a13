import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { MAX_WORK, parsePasswordHash } from './password-hash.ts';

const SALT = 'A'.repeat(22);
const KEY = 'B'.repeat(43);

test('what libra routes hash prints is read', () => {
  assert.deepEqual(parsePasswordHash(`$scrypt$ln=15,r=8,p=1$${SALT}$${KEY}`), {
    cost: 2 ** 15,
    blockSize: 8,
    parallelization: 1,
    salt: SALT,
    key: KEY,
  });
});

test('a hash is read where its work is bounded, and only there', () => {
  fc.assert(
    fc.property(fc.nat(30), fc.nat(120), fc.nat(120), (ln, r, p) => {
      const work = 2 ** ln * r * p;
      const fits = ln >= 10 && ln < 20 && r >= 1 && r < 100 && p >= 1 && p < 100 && work <= MAX_WORK;
      assert.equal(parsePasswordHash(`$scrypt$ln=${ln},r=${r},p=${p}$${SALT}$${KEY}`) !== null, fits);
    }),
  );
});

test('a hash without a key, which every password would fit, is none', () => {
  for (const text of [`$scrypt$ln=15,r=8,p=1$${SALT}$A`, `$scrypt$ln=15,r=8,p=1$${SALT}$`, `$scrypt$ln=15,r=8,p=1$A$${KEY}`, 'secret', ''])
    assert.equal(parsePasswordHash(text), null, text);
});
