import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { RouteRule } from '../../api/dataplane.ts';
import { routeKey } from '../../model/route-match.ts';
import { createClaims } from './claims.ts';
import type { EnvironmentClaims } from './claims.ts';

const route = fc.record({
  host: fc.constantFrom('a', 'b'),
  path: fc.constantFrom('/', '/x'),
  headers: fc.constantFrom<Record<string, string>[]>({}, { beta: '1' }),
});
const step = fc.record({
  environment: fc.integer({ min: 0, max: 4 }),
  routes: fc.option(fc.array(route, { maxLength: 4 }), { nil: null }),
});

test('whatever is claimed and given up, each Route has one owner, the oldest claimant, and changes add up to it', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 5, maxLength: 5 }),
      fc.array(step, { maxLength: 25 }),
      (ages, steps) => {
        const claims = createClaims(isDeepStrictEqual);
        const now = new Map<string, EnvironmentClaims>();
        const followed = new Map<string, RouteRule>();
        for (const { environment, routes } of steps) {
          const environmentId = `e${environment}`;
          const after =
            routes === null
              ? null
              : {
                  environmentId,
                  createdAtMs: ages[environment] ?? 0,
                  rules: routes.map((each) => ({ ...each, group: `${environmentId}/web` })),
                };
          if (after === null) now.delete(environmentId);
          else now.set(environmentId, after);
          const { put, remove } = claims.change(environmentId, after);
          for (const key of remove) assert.ok(followed.delete(key));
          for (const rule of put) followed.set(routeKey(rule), rule);
        }
        const oldestFirst = [...now.values()].sort((a, b) => a.createdAtMs - b.createdAtMs || (a.environmentId < b.environmentId ? -1 : 1));
        const expected = new Map<string, RouteRule>();
        const lost = new Set<string>();
        for (const { environmentId, rules } of oldestFirst)
          for (const rule of rules) {
            const owner = expected.get(routeKey(rule));
            if (owner === undefined) expected.set(routeKey(rule), rule);
            else if (owner.group !== rule.group) lost.add(`${environmentId} ${routeKey(rule)}`);
          }
        assert.deepEqual(followed, expected);
        assert.deepEqual(
          claims.rules(),
          [...expected].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, rule]) => rule),
        );
        assert.deepEqual(new Set(claims.conflicts().map(({ loserId, rule }) => `${loserId} ${routeKey(rule)}`)), lost);
        for (const { ownerId, rule } of claims.conflicts()) assert.equal(`${ownerId}/web`, expected.get(routeKey(rule))?.group);
      },
    ),
    { numRuns: 500 },
  );
});
