import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { isFailure } from '../lib/failure.ts';
import { pageOf } from './server-page.ts';

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

test('walking the pages gives every item once and in order, in both directions', () => {
  const keys = fc.uniqueArray(fc.string({ maxLength: 6 }), { maxLength: 60 });
  fc.assert(
    fc.property(
      keys,
      fc.integer({ min: 1, max: 20 }),
      fc.constantFrom('ascending' as const, 'descending' as const),
      (names, limit, order) => {
        const items = names.toSorted((a, b) => (order === 'ascending' ? byText(a, b) : byText(b, a)));
        const options = { list: 'x', keyOf: (item: string) => item, order };
        const walked: string[] = [];
        let cursor: string | undefined;
        for (;;) {
          const page = pageOf(items, { limit, cursor }, options);
          assert.ok(page.items.length <= limit);
          walked.push(...page.items);
          if (page.next === null) break;
          assert.ok(page.items.length === limit);
          cursor = page.next;
        }
        assert.deepEqual(walked, items);
      },
    ),
  );
});

test('a cursor goes on behind its item when that item is gone', () => {
  const options = { list: 'x', keyOf: (item: string) => item, order: 'ascending' as const };
  const { next } = pageOf(['a', 'b', 'c', 'd'], { limit: 2 }, options);
  assert.deepEqual(pageOf(['a', 'c', 'd'], { limit: 2, cursor: next ?? '' }, options).items, ['c', 'd']);
});

test('garbage and cursors of another list are refused', () => {
  const options = { list: 'x', keyOf: (item: string) => item, order: 'ascending' as const };
  const foreign = pageOf(['a', 'b'], { limit: 1 }, { ...options, list: 'y' }).next ?? '';
  for (const cursor of ['', 'garbage', '%%%', Buffer.from('[1,"x"]').toString('base64url'), foreign]) {
    assert.throws(
      () => pageOf(['a'], { limit: 1, cursor }, options),
      (error) => isFailure(error, 'invalid_input'),
    );
  }
});
