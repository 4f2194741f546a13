import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createRanges, isRange, parseAddress } from './address-range.ts';
import { loadPatterns, patternProblem } from './patterns.ts';
import { routeKey } from './route-match.ts';
import type { RouteConditions, ValueMatch } from './route-match.ts';
import { createRouteTable } from './route-table.ts';
import type { MatchInput } from './route-table.ts';

interface Rule extends RouteConditions {
  readonly group: string;
}

interface Request {
  readonly host: string;
  readonly path: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string>>;
  readonly cookies: Readonly<Record<string, string>>;
  readonly address: string;
}

await loadPatterns();

const own = (record: Readonly<Record<string, string>>, name: string): string | undefined =>
  Object.hasOwn(record, name) ? record[name] : undefined;
const asked = ({ host, path, method, headers, query, cookies, address }: Request): MatchInput => ({
  host,
  path,
  method,
  address,
  header: (lower) => own(headers, lower),
  query: (name) => own(query, name),
  cookie: (name) => own(cookies, name),
});

function fits(rule: Rule, input: Request): boolean {
  const host = rule.host.startsWith('*')
    ? rule.host === '*' || (input.host.endsWith(rule.host.slice(1)) && input.host.length > rule.host.length - 1)
    : input.host === rule.host;
  const segments = (text: string): string[] => text.replace(/\/+$/u, '').split('/');
  const wanted = segments(rule.path);
  const path =
    rule.pathType === 'exact'
      ? rule.path === input.path
      : rule.pathType === 'pattern'
        ? new RegExp(`^(?:${rule.path})$`, 'u').test(input.path)
        : input.path.split('/').slice(0, wanted.length).join('/') === wanted.join('/');
  const values = (matches: Readonly<Record<string, ValueMatch>> | undefined, of: Readonly<Record<string, string>>): boolean =>
    Object.entries(matches ?? {}).every(([name, match]) => {
      const value = own(of, name);
      if (typeof match === 'string') return value === match;
      if ('present' in match) return (value !== undefined) === match.present;
      return value !== undefined && new RegExp(`^(?:${match.pattern})$`, 'u').test(value);
    });
  return (
    host &&
    path &&
    (rule.methods?.includes(input.method) ?? true) &&
    values(rule.headers, input.headers) &&
    values(rule.query, input.query) &&
    values(rule.cookies, input.cookies) &&
    (rule.sources?.some((range) => input.address.startsWith(range === '10.0.0.0/8' ? '10.' : '10.1.')) ?? true)
  );
}

/** What the table means, said as plainly as possible: of all rules that fit, the most specific. */
function naiveMatch(rules: readonly Rule[], input: Request): Rule | null {
  const count = (record: object | undefined): number => Object.keys(record ?? {}).length;
  const rank = (rule: Rule): number[] => [
    rule.host.startsWith('*') ? 0 : 1,
    rule.host.length,
    rule.pathType === 'exact' ? 2 : rule.pathType === 'pattern' ? 1 : 0,
    rule.path.replace(/\/+$/u, '').length,
    rule.methods === undefined ? 0 : 1,
    count(rule.headers),
    count(rule.query),
    count(rule.cookies),
    rule.sources === undefined ? 0 : 1,
  ];
  const before = (a: Rule, b: Rule): boolean => {
    const [mine, its] = [rank(a), rank(b)];
    const difference = mine.map((value, index) => value - (its[index] ?? 0)).find((value) => value !== 0) ?? 0;
    if (difference !== 0) return difference > 0;
    return a.group === b.group ? routeKey(a) < routeKey(b) : a.group < b.group;
  };
  let best: Rule | null = null;
  for (const rule of rules) if (fits(rule, input) && (best === null || before(rule, best))) best = rule;
  return best;
}

const host = fc.array(fc.constantFrom('a', 'b', 'shop', 'localhost'), { minLength: 1, maxLength: 3 }).map((labels) => labels.join('.'));
const path = fc.array(fc.constantFrom('x', 'xy', 'api', 'v1'), { maxLength: 3 }).map((parts) => `/${parts.join('/')}`);
const place = fc.oneof(
  path.map((text) => ({ path: text })),
  path.map((text) => ({ path: text, pathType: 'exact' as const })),
  fc.constantFrom('/(x|api)/.*', '/[a-z]+', '/v\\d(/.*)?').map((text) => ({ path: text, pathType: 'pattern' as const })),
);
const value = fc.oneof(
  fc.constantFrom('1', '2'),
  fc.constantFrom('[12]', '2.*').map((pattern) => ({ pattern })),
  fc.boolean().map((present) => ({ present })),
);
const values = fc.dictionary(fc.constantFrom('n', 'm'), value, { maxKeys: 2 });
const said = fc.dictionary(fc.constantFrom('n', 'm'), fc.constantFrom('1', '2', '22'), { maxKeys: 2 });
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined, freq: 2 });
const ruleOf: fc.Arbitrary<Rule> = fc
  .record({
    host: fc.tuple(fc.constantFrom('', '*.', '*'), host).map(([wildcard, name]) => (wildcard === '*' ? '*' : wildcard + name)),
    place,
    headers: values,
    methods: maybe(fc.constantFrom(['GET'], ['POST', 'PUT'])),
    query: maybe(values),
    cookies: maybe(values),
    sources: maybe(fc.constantFrom(['10.0.0.0/8'], ['10.1.0.0/16'])),
    group: fc.constantFrom('g1', 'g2', 'g3'),
  })
  .map(({ place: where, methods, query, cookies, sources, ...rest }) => ({
    ...rest,
    ...where,
    ...(methods === undefined ? {} : { methods }),
    ...(query === undefined ? {} : { query }),
    ...(cookies === undefined ? {} : { cookies }),
    ...(sources === undefined ? {} : { sources }),
  }));
const request = fc.record({
  host,
  path,
  method: fc.constantFrom('GET', 'POST'),
  headers: said,
  query: said,
  cookies: said,
  address: fc.constantFrom('10.1.2.3', '10.2.2.3', '192.168.0.1'),
});
/** The last one of a key counts. */
const unique = (rules: readonly Rule[]): Rule[] => [...new Map(rules.map((rule) => [routeKey(rule), rule])).values()];

test('the table finds what a naive search finds, whatever was put and removed before, and explains it so', () => {
  fc.assert(
    fc.property(
      fc.array(ruleOf, { maxLength: 20 }),
      fc.array(fc.tuple(fc.nat(40), ruleOf), { maxLength: 20 }),
      fc.array(request, { minLength: 1, maxLength: 6 }),
      (first, changes, requests) => {
        const table = createRouteTable(first);
        let rules = unique(first);
        const check = (input: Request): void => {
          const expected = naiveMatch(rules, input);
          assert.equal(table.match(asked(input)), expected);
          const told = table.explain(asked(input), 1_000);
          assert.equal(told.find(({ miss }) => miss === null)?.rule ?? null, expected);
          if (expected !== null) assert.equal(told[0]?.rule, expected);
          for (const { rule, miss } of told) assert.equal(miss === null || miss === 'less specific', fits(rule, input));
        };
        for (const [index, [at, rule]] of changes.entries()) {
          const gone = rules[at];
          if (gone === undefined) {
            table.put(rule);
            rules = unique([...rules, rule]);
          } else {
            table.remove(routeKey(gone));
            rules = rules.filter((each) => each !== gone);
          }
          check(requests[index % requests.length] ?? requests[0] ?? { ...asNobody });
        }
        for (const input of requests) check(input);
        assert.equal(table.size, rules.length);
      },
    ),
    { numRuns: 1_500 },
  );
});

const asNobody: Request = { host: 'a', path: '/', method: 'GET', headers: {}, query: {}, cookies: {}, address: '::1' };

test('a table knows its hosts, wildcards included', () => {
  const table = createRouteTable<Rule>([
    { host: '*.shop.localhost', path: '/', headers: {}, group: 'a' },
    { host: 'one.localhost', path: '/api', headers: {}, group: 'b' },
  ]);
  assert.deepEqual(
    ['x.shop.localhost', 'y.x.shop.localhost', 'shop.localhost', 'one.localhost', 'two.localhost'].map((name) => table.knowsHost(name)),
    [true, true, false, true, false],
  );
  assert.equal(table.match(asked({ ...asNobody, host: 'one.localhost' })), null);
  const any = { host: '*', path: '/', headers: {}, group: 'c' };
  table.put(any);
  for (const name of ['one.localhost', 'two.localhost', 'localhost', '10.0.0.1', '::1'])
    assert.equal(table.match(asked({ ...asNobody, host: name })), any, name);
  table.remove(routeKey(any));
  assert.equal(table.knowsHost('two.localhost'), false);
});

test('keys tell Routes apart by what they match, not by how it is written', () => {
  const plain = { host: 'A.localhost', path: '/x/', headers: { 'X-Beta': '1' } };
  assert.equal(routeKey(plain), routeKey({ host: 'a.localhost', path: '/x', headers: { 'x-beta': '1' }, query: {} }));
  assert.notEqual(routeKey(plain), routeKey({ ...plain, pathType: 'exact' }));
  assert.notEqual(routeKey(plain), routeKey({ ...plain, methods: ['GET'] }));
  assert.equal(routeKey({ ...plain, methods: ['PUT', 'GET'] }), routeKey({ ...plain, methods: ['GET', 'PUT'] }));
});

test('addresses are in the ranges that hold them', () => {
  const inside = createRanges(['10.0.0.0/8', '192.168.1.1', '2001:db8::/32', '::ffff:172.16.0.0/108']);
  for (const address of ['10.255.0.1', '192.168.1.1', '2001:db8:1::1', '172.16.9.9']) assert.ok(inside(address), address);
  for (const address of ['11.0.0.1', '192.168.1.2', '2001:db9::', '172.32.0.1', 'nonsense', '']) assert.ok(!inside(address), address);
  for (const text of ['10.0.0.0/33', '10.0.0', '010.0.0.1', '::1::', '1:2:3:4:5:6:7', 'fe80::1%eth0', '::/129', '10.0.0.0/8/8'])
    assert.ok(!isRange(text), text);
  fc.assert(fc.property(fc.ipV6(), (text) => assert.notEqual(parseAddress(text), null)));
  fc.assert(fc.property(fc.ipV4(), (text) => assert.ok(createRanges([`${text}/32`])(text))));
});

test('patterns that would take more than linear time are no patterns', () => {
  for (const text of ['/v\\d+/.*', '(a|b)*', '/x\\\\1']) assert.equal(patternProblem(text), null, text);
  for (const text of ['(?=a)', '(?<!a)b', '(a)\\1', '(?<n>a)\\k<n>', '(', 'a{1001}{1001}', 'x'.repeat(300)])
    assert.notEqual(patternProblem(text), null, text);
});
