import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { splitCommand } from './command.ts';
import { expandWords } from './expand.ts';

function words(text: string): readonly string[] {
  const split = splitCommand(text);
  assert.ok(split.ok, text);
  return split.words;
}

function refusal(text: string): string {
  const split = splitCommand(text);
  assert.ok(!split.ok, text);
  return split.message;
}

test('words are split at white space and grouped by quotes', () => {
  assert.deepEqual(words('node server.js --port ${PORT}'), ['node', 'server.js', '--port', '${PORT}']);
  assert.deepEqual(words('  a\t b\n c '), ['a', 'b', 'c']);
  assert.deepEqual(words(`say 'one word' "two \\"quoted\\" \\\\ words" three\\ four`), [
    'say',
    'one word',
    'two "quoted" \\ words',
    'three four',
  ]);
  assert.deepEqual(words(`a'b'"c"d ''`), ['abcd', '']);
  assert.deepEqual(words(`"keep \\n as it is"`), ['keep \\n as it is']);
});

test('operators of a shell are refused with the way out', () => {
  for (const text of [
    'a | b',
    'a && b',
    'a > b',
    'a >out',
    'a 2>&1',
    'a 2>err.log',
    'a < in',
    'a ; b',
    'a; b',
    'a &',
    'a $(b)',
    'a `b`',
    'a >>log',
  ]) {
    assert.match(refusal(text), /shell/u, text);
  }
});

test('quoted operators are plain words', () => {
  assert.deepEqual(words(`grep 'a|b' ">" \\; "$(x)"`), ['grep', 'a|b', '>', ';', '$(x)']);
  assert.deepEqual(words('find . -name x=1&2'), ['find', '.', '-name', 'x=1&2']);
});

test('quotes without an end, a trailing backslash and an empty command are refused', () => {
  assert.equal(refusal(`say 'x`), "The quote ' at character 5 has no end.");
  assert.match(refusal('a "b\\"'), /has no end/u);
  assert.match(refusal('a \\'), /backslash/u);
  assert.match(refusal('   '), /empty/u);
  assert.match(refusal('a\u0000b'), /NUL/u);
  assert.match(refusal('a '.repeat(10_000)), /at most/u);
});

test('no text at all makes the splitter throw or give an empty first word list', () => {
  const shellish = fc.string({ unit: fc.constantFrom('a', ' ', '"', "'", '\\', '|', '$', '(', '{', '}', '&', '>', '\n') });
  fc.assert(
    fc.property(fc.oneof(fc.string(), shellish), (text) => {
      const split = splitCommand(text);
      assert.ok(!split.ok || split.words.length > 0);
    }),
  );
});

test('single-quoted words come out exactly as they went in', () => {
  const plain = fc.string().filter((text) => !text.includes("'") && !text.includes('\u0000'));
  fc.assert(
    fc.property(
      fc.array(plain, { minLength: 1, maxLength: 5 }).filter(([program]) => program !== ''),
      (list) => assert.deepEqual(words(list.map((word) => `'${word}'`).join(' ')), list),
    ),
  );
});

test('variables are expanded inside words, and one word stays one word', () => {
  assert.deepEqual(expandWords(['--port=${PORT}', '${A}${B}', '$PORT', '${', '${9}'], { PORT: '80', A: 'x y', B: '${PORT}' }), {
    words: ['--port=80', 'x y${PORT}', '$PORT', '${', '${9}'],
    missing: [],
  });
});

test('$${ is a literal ${', () => {
  assert.deepEqual(expandWords(['$${PORT}', '$$${PORT}'], { PORT: '80' }).words, ['${PORT}', '$${PORT}']);
});

test('missing variables are named once, and inherited properties are none', () => {
  assert.deepEqual(expandWords(['${X}${Y}', '${X}', '${constructor}'], { Y: '' }), { words: ['', '', ''], missing: ['X', 'constructor'] });
});

test('quotes around nothing are no program', () => {
  for (const text of ["''", '""', "'' --port 1"]) assert.deepEqual(splitCommand(text), { ok: false, message: 'The command is empty.' });
});
