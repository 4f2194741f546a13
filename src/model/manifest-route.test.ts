import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RouteSpec } from './manifest-types.ts';
import { parseManifest } from './manifest.ts';

const head = 'app: shop\nentrypoints:\n  web:\n    command: ./run\n    routes:\n';
const routes = (yaml: string): readonly RouteSpec[] => {
  const { manifest, problems: found } = parseManifest(`${head}${yaml}`);
  assert.deepEqual(found, []);
  return manifest?.entrypoints['web']?.routes ?? [];
};
const problems = (yaml: string): string[] =>
  parseManifest(`${head}${yaml}`).problems.map(({ line, column, message }) => `${line}:${column} ${message}`);

test('a Route may be as short as a path, and say all that it asks', () => {
  assert.deepEqual(routes('      - path: /a\n'), [{ host: '', path: '/a', match: { headers: {} } }]);
  assert.deepEqual(
    routes(
      '      - { path: { exact: /a }, match: { methods: [GET], headers: { X-A: "1", x-b: { present: false } }, query: { q: { pattern: "a+" } }, cookies: { c: "1" }, sources: [10.0.0.0/8], userAgent: { pattern: ".*Bot.*" } } }\n',
    ),
    [
      {
        host: '',
        path: '/a',
        pathType: 'exact',
        match: {
          headers: { 'x-a': '1', 'x-b': { present: false }, 'user-agent': { pattern: '.*Bot.*' } },
          methods: ['GET'],
          query: { q: { pattern: 'a+' } },
          cookies: { c: '1' },
          sources: ['10.0.0.0/8'],
        },
      },
    ],
  );
});

test('what a Route does has defaults that are said once', () => {
  const [route] = routes(
    '      - { path: /a, redirect: "https://b.example:8443/c", cors: { origins: ["https://a.example"] }, rateLimit: { requests: 5 }, timeout: 2s, body: 1Mi, allow: ["::1"], https: redirect }\n',
  );
  assert.deepEqual(route?.policy, {
    allow: ['::1'],
    https: 'redirect',
    cors: { origins: ['https://a.example'], methods: ['GET', 'HEAD', 'POST'], headers: [], expose: [], credentials: false, maxAgeS: 600 },
    rateLimit: { requests: 5, perMs: 1_000, burst: 5, by: 'address' },
    redirect: { status: 302, scheme: 'https', host: 'b.example', port: 8443, path: { kind: 'full', value: '/c' } },
    timeoutMs: 2_000,
    bodyBytes: 1_048_576,
  });
  const [pattern] = routes('      - { path: { pattern: "/(.*)" }, rewrite: { path: /x/$1 } }\n');
  assert.deepEqual(pattern?.policy, { rewrite: { path: { kind: 'pattern', value: '/x/$1' } } });
});

test('every host is a host, and its certificates may come on demand', () => {
  const [any, wide] = routes('      - { host: "*", onDemandCertificates: { ask: "/ask?of=shop" } }\n      - { host: "*.Shop.example" }\n');
  assert.deepEqual([any?.host, any?.policy], ['*', { onDemandCertificates: { ask: '/ask?of=shop' } }]);
  assert.equal(wide?.host, '*.shop.example');
  const [problem] = parseManifest(
    'app: shop\nentrypoints:\n  web: { command: ./run, traffic: { protocol: h2c }, routes: [ { host: "*", onDemandCertificates: { ask: /ask } } ] }\n',
  ).problems;
  assert.match(problem?.message ?? '', /asked over HTTP\/1\.1/u);
});

test('an Entrypoint may have pages of its own', () => {
  const text = "app: shop\nentrypoints:\n  web:\n    command: ./run\n    pages: { paused: '<p>soon</p>' }\n";
  assert.deepEqual(parseManifest(text).manifest?.entrypoints['web']?.pages, { paused: '<p>soon</p>' });
  const [problem] = parseManifest(text.replace('paused', 'pauses')).problems;
  assert.match(problem?.message ?? '', /did you mean paused/u);
  assert.match(parseManifest(text.replace('<p>soon</p>', 'x'.repeat(20_000))).problems[0]?.message ?? '', /longer than 16 KiB/u);
});

const wrong: Readonly<Record<string, RegExp>> = {
  '- { path: { exact: /a, prefix: /b } }': /^6:\d+ .*cannot stand next to/u,
  '- { path: { pattern: "(?=a)" } }': /linear time/u,
  '- { path: { pattern: "(" } }': /^6:\d+ .*is no pattern/u,
  '- { match: { sources: [10.0.0.0/99] } }': /an address or a range/u,
  '- { match: { methods: [get] } }': /in capitals/u,
  '- { match: { header: { a: "1" } } }': /did you mean headers/u,
  '- { headers: { request: { set: { Host: x } } } }': /written by the Edge alone/u,
  '- { headers: { response: { remove: [Content-Length] } } }': /written by the Edge alone/u,
  '- { headers: { request: { set: { a: "x\\ny" } } } }': /a value in quotes/u,
  '- { cors: { origins: ["*"], credentials: true } }': /every page could act/u,
  '- { cors: { origins: ["https://a.example/path"] } }': /without a path/u,
  '- { redirect: {} }': /back to the same place/u,
  '- { redirect: "ftp://x" }': /an URL such as/u,
  '- { redirect: "https://x.example", rewrite: { path: /a } }': /sent elsewhere/u,
  '- { path: { exact: /a }, rewrite: { path: { prefix: /b } } }': /what a prefix covers/u,
  '- { auth: { users: { a: secret } } }': /libra routes hash/u,
  '- { auth: { users: { a: "$scrypt$ln=17,r=99,p=99$AAAAAAAAAAAAAAAAAAAAAA$BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB" } } }':
    /libra routes hash/u,
  '- { rateLimit: { requests: 0 } }': /a whole number from 1/u,
  '- { body: -1 }': /an amount/u,
  '- { host: "*.*.example" }': /"\*" for every host/u,
  '- { redirect: { host: "*" } }': /a host name such as shop/u,
  '- { rewrite: { host: "*.shop.example" } }': /a host name such as shop/u,
  '- { host: shop.example, onDemandCertificates: { ask: /ask } }': /no meaning for a single host/u,
  '- { onDemandCertificates: { ask: /ask } }': /no meaning for a single host/u,
  '- { host: "*", onDemandCertificates: { ask: ask } }': /a path that starts with/u,
  '- { host: "*", onDemandCertificates: {} }': /is missing: expected a path/u,
};
for (const [yaml, expected] of Object.entries(wrong))
  test(`refused, with its place: ${yaml}`, () => {
    const found = problems(`      ${yaml}\n`);
    assert.equal(found.length, 1, found.join('; '));
    assert.match(found[0] ?? '', expected);
  });
