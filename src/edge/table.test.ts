import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { RouteRule } from '../api/dataplane.ts';
import { compileTable } from './table.ts';
import type { MatchInput } from './table.ts';

interface Request {
  readonly host: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

const asked = ({ host: name, path: where, headers: fields }: Request): MatchInput => ({
  host: name,
  path: where,
  header: (lower) => fields[lower],
});

/** What the table means, said as plainly as possible: of all rules that fit, the most specific, then the earliest. */
function naiveMatch(rules: readonly RouteRule[], input: Request): RouteRule | null {
  const segments = (path: string): string[] => path.replace(/\/+$/u, '').split('/');
  const fits = (rule: RouteRule): boolean => {
    const host = rule.host.startsWith('*.')
      ? input.host.endsWith(rule.host.slice(1)) && input.host.length > rule.host.length - 1
      : input.host === rule.host;
    const wanted = segments(rule.path);
    const path = input.path.split('/').slice(0, wanted.length).join('/') === wanted.join('/');
    return host && path && Object.entries(rule.headers).every(([name, value]) => input.headers[name] === value);
  };
  const rank = (rule: RouteRule): number[] => [
    rule.host.startsWith('*.') ? 0 : 1,
    rule.host.length,
    rule.path.replace(/\/+$/u, '').length,
    Object.keys(rule.headers).length,
  ];
  let best: RouteRule | null = null;
  for (const rule of rules.filter(fits)) {
    if (best === null) best = rule;
    else {
      const [mine, its] = [rank(rule), rank(best)];
      const difference = mine.map((value, index) => value - (its[index] ?? 0)).find((value) => value !== 0) ?? 0;
      if (difference > 0) best = rule;
    }
  }
  return best;
}

const label = fc.constantFrom('a', 'b', 'shop', 'localhost');
const host = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));
const path = fc.array(fc.constantFrom('x', 'xy', 'api', 'v1'), { maxLength: 3 }).map((parts) => `/${parts.join('/')}`);
const headers = fc.dictionary(fc.constantFrom('x-beta', 'x-user'), fc.constantFrom('1', '2'), { maxKeys: 2 });
const ruleOf = fc.record({
  host: fc.tuple(fc.boolean(), host).map(([wildcard, name]) => (wildcard ? `*.${name}` : name)),
  path,
  headers,
  group: fc.string({ minLength: 1, maxLength: 3 }),
});

test('the compiled table finds what a naive search finds', () => {
  fc.assert(
    fc.property(fc.array(ruleOf, { maxLength: 30 }), host, path, headers, (rules, requestHost, requestPath, requestHeaders) => {
      const input = { host: requestHost, path: requestPath, headers: requestHeaders };
      assert.equal(compileTable(rules).match(asked(input)), naiveMatch(rules, input));
    }),
    { numRuns: 2_000 },
  );
});

test('looking up one of 50,000 hosts costs no more than one of ten', () => {
  const rules = (count: number): RouteRule[] =>
    Array.from({ length: count }, (_, index) => ({ host: `app${index}.localhost`, path: '/', headers: {}, group: `g${index}` }));
  const large = compileTable(rules(50_000));
  assert.equal(large.match(asked({ host: 'app49999.localhost', path: '/x', headers: {} }))?.group, 'g49999');
  const input = asked({ host: 'app7.localhost', path: '/some/path', headers: {} });
  const perLookupMs = (table: ReturnType<typeof compileTable>): number => {
    let best = Infinity;
    for (let round = 0; round < 5; round += 1) {
      const began = performance.now();
      for (let index = 0; index < 20_000; index += 1) table.match(input);
      best = Math.min(best, (performance.now() - began) / 20_000);
    }
    return best;
  };
  const small = perLookupMs(compileTable(rules(10)));
  assert.ok(perLookupMs(large) < small * 5 + 0.001);
});

test('a table knows its hosts, wildcards included', () => {
  const table = compileTable([
    { host: '*.shop.localhost', path: '/', headers: {}, group: 'a' },
    { host: 'one.localhost', path: '/api', headers: {}, group: 'b' },
  ]);
  assert.deepEqual(
    ['x.shop.localhost', 'y.x.shop.localhost', 'shop.localhost', 'one.localhost', 'two.localhost'].map((name) => table.knowsHost(name)),
    [true, true, false, true, false],
  );
  assert.equal(table.match(asked({ host: 'one.localhost', path: '/', headers: {} })), null);
});
