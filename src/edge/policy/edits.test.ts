import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { loadPatterns } from '../../model/patterns.ts';
import { canonicalTarget } from '../../model/request-target.ts';
import { Fields } from '../../proxy/fields.ts';
import { createPathEdit, editFields } from './edits.ts';

await loadPatterns();

const segment = fc.constantFrom('a', 'b', '..', '.', '', '%2e', '%2F', 'ä', '%C3%A4', 'x y', '?', '#', '\\', '%', '%zz');
const path = fc.array(segment, { maxLength: 5 }).map((parts) => `/${parts.join('/')}`);

test('what comes of a path is canonical, or nothing', () => {
  const edits = fc.oneof(
    path.map((value) => ({ edit: { kind: 'full' as const, value }, route: { host: 'h', path: '/', headers: {} } })),
    fc
      .tuple(path, fc.constantFrom('/', '/a', '/a/'))
      .map(([value, prefix]) => ({ edit: { kind: 'prefix' as const, value }, route: { host: 'h', path: prefix, headers: {} } })),
    fc
      .tuple(fc.constantFrom('/$1', '$1', '/x/$2/$1', '/$9', '/$1/../$2'), fc.constantFrom('/(.*)', '/([^/]*)/(.*)'))
      .map(([value, pattern]) => ({
        edit: { kind: 'pattern' as const, value },
        route: { host: 'h', path: pattern, pathType: 'pattern' as const, headers: {} },
      })),
  );
  fc.assert(
    fc.property(edits, path, ({ edit, route }, asked) => {
      const target = canonicalTarget('GET', encodeURI(asked).replaceAll('%25', '%').replaceAll('?', ''), 'h');
      if (target.type === 'bad') return;
      const made = createPathEdit(edit, route)(target.path);
      if (made === null) return;
      const again = canonicalTarget('GET', made, 'h');
      assert.ok(again.type === 'target' && again.path === made && again.query === '', `${target.path} became ${made}`);
    }),
    { numRuns: 2_000 },
  );
});

test('fields are removed, then set, then added', () => {
  const fields = Fields.of('A', '1', 'a', '2', 'B', '3');
  editFields(fields, { remove: ['b'], set: { a: 'x', C: 'y' }, add: { c: 'z' } });
  assert.deepEqual(fields.pairs(), [
    ['a', 'x'],
    ['c', 'y'],
    ['c', 'z'],
  ]);
});
