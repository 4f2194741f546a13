import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { FIELD, fieldName, fieldNameIn } from './fields.ts';

test('a name that stands in a text is the same one as by itself, whatever stands around it', () => {
  const known = fc.constantFrom('Host', 'host', 'HOST', 'Accept', 'accept-encoding', 'Content-Length', 'X-Forwarded-For', 'TE', 'x', '');
  const token = fc.string({ unit: fc.constantFrom('a', 'Z', '0', '-', '_', '!', '~'), maxLength: 70 });
  const any = fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)), maxLength: 20 });
  fc.assert(
    fc.property(any, fc.oneof(known, token, any), any, (before, name, after) => {
      const found = fieldNameIn(`${before}${name}${after}`, before.length, before.length + name.length);
      const alone = fieldName(name);
      if (found === null || alone === null) assert.equal(found, alone);
      else assert.deepEqual({ ...found }, { ...alone });
      assert.equal(found === null, !/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/u.test(name));
      if (found !== null) assert.deepEqual([found.lower, found.prefix], [name.toLowerCase(), `${name}: `]);
    }),
    { numRuns: 2_000 },
  );
});

test('what frames a message is known in every spelling', () => {
  for (const name of ['Content-Length', 'Transfer-Encoding', 'Host', 'Connection']) {
    const letters = fc.tuple(...Array.from(name, (letter) => fc.constantFrom(letter.toLowerCase(), letter.toUpperCase())));
    fc.assert(fc.property(letters, (spelled) => fieldNameIn(spelled.join(''), 0, name.length)?.kind === fieldName(name)?.kind));
  }
  assert.notEqual(fieldName('Host')?.kind, FIELD.plain);
});
