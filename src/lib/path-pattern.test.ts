import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { compilePathPattern } from './path-pattern.ts';

const matched = (pattern: string, paths: readonly string[]): readonly string[] => {
  const compiled = compilePathPattern(pattern);
  assert.ok(compiled, pattern);
  return paths.filter(compiled.matches);
};

test('sets take ranges, their opposite, an escaped bracket, and never a slash', () => {
  const names = ['a', 'b', '-', ']', '\\', '/', 'é'];
  assert.deepEqual(matched('[a-z]', names), ['a', 'b']);
  assert.deepEqual(matched('[^a]', names), ['b', '-', ']', '\\', 'é']);
  assert.deepEqual(matched('[\\]a-]', names), ['a', '-', ']']);
  assert.deepEqual(matched('[^b-]', names), ['a', ']', '\\', 'é']);
});

test('what is no pattern is told as none', () => {
  for (const text of ['[', '[]', '[a', '[a-', '[b-a]', 'a\\', '[\\']) assert.equal(compilePathPattern(text), null, text);
});

test('agrees with a regular expression that says the same, on any path', () => {
  const piece = fc.constantFrom('a', 'b', '/', '*', '?', '**', '**/');
  const path = fc.array(fc.constantFrom('a', 'b', '/', 'c'), { maxLength: 8 }).map((parts) => parts.join(''));
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 6 }), path, (pieces, text) => {
      const pattern = pieces.join('');
      const expression = pattern.replaceAll(/\*\*\/?$|\*\*\/?|[*?]/gu, (found, at: number) => {
        if (found === '*') return '[^/]*';
        if (found === '?') return '[^/]';
        return at + found.length === pattern.length ? '.*' : '(?:.*/)?';
      });
      assert.equal(compilePathPattern(pattern)?.matches(text), new RegExp(`^${expression}$`, 'u').test(text), `${pattern} on ${text}`);
    }),
    { numRuns: 2000 },
  );
});
