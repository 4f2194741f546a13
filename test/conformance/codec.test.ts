// However the bytes of a message are cut on their way, they are read the same.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { cut, readPieces } from './codec.ts';
import { FRAMING } from './corpus-framing.ts';
import { TARGETS } from './corpus-target.ts';

const MESSAGES = [...FRAMING, ...TARGETS].map((message) => Buffer.from(message.bytes, 'latin1'));

describe('the codec', () => {
  test('reads every message of the corpus byte by byte as it reads it whole', () => {
    for (const bytes of MESSAGES) {
      if (bytes.length > 4_000) continue;
      const places = Array.from({ length: bytes.length }, (_, index) => index);
      assert.deepEqual(readPieces(cut(bytes, places)), readPieces([bytes]), JSON.stringify(bytes.toString('latin1')));
    }
  });

  test('reads what fuzzing has kept, byte by byte as whole', () => {
    const folder = join(import.meta.dirname, 'corpus-fuzz');
    const names = readdirSync(folder);
    assert.ok(names.length > 0);
    for (const name of names) {
      const bytes = readFileSync(join(folder, name));
      const places = Array.from({ length: bytes.length }, (_, index) => index);
      assert.deepEqual(readPieces(cut(bytes, places)), readPieces([bytes]), name);
    }
  });

  test('reads messages one after the other, cut anywhere, as it reads them whole', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(MESSAGES.length - 1), { minLength: 1, maxLength: 3 }),
        fc.array(fc.nat(2_000), { maxLength: 12 }),
        (picked, places) => {
          const bytes = Buffer.concat(picked.map((index) => MESSAGES[index] ?? Buffer.alloc(0)));
          assert.deepEqual(readPieces(cut(bytes, places)), readPieces([bytes]));
        },
      ),
      { numRuns: 3_000 },
    );
  });

  test('reads what was changed in one place as one thing, however it is cut', () => {
    fc.assert(
      fc.property(
        fc.nat(MESSAGES.length - 1),
        fc.nat(400),
        fc.constantFrom('\r', '\n', '\r\n', '\0', ' ', '\t', ':', ';', '0', 'A', '\xff', ''),
        fc.array(fc.nat(500), { maxLength: 6 }),
        (index, at, put, places) => {
          const text = (MESSAGES[index] ?? Buffer.alloc(0)).toString('latin1');
          const bytes = Buffer.from(`${text.slice(0, at)}${put}${text.slice(at + 1)}`, 'latin1');
          assert.deepEqual(readPieces(cut(bytes, places)), readPieces([bytes]));
        },
      ),
      { numRuns: 5_000 },
    );
  });
});
