import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { canonicalHost } from './host.ts';
import { canonicalTarget } from './request-target.ts';

/** `host path?query`, or the reason. */
function read(target: string, host = 'shop.localhost', method = 'GET'): string {
  const result = canonicalTarget(method, target, host);
  return result.type === 'bad' ? `bad: ${result.why}` : `${result.authority} ${result.path}${result.query}`;
}
const pathOf = (target: string): string => read(target).replace('shop.localhost ', '');

describe('the canonical path', () => {
  const cases: Record<string, string> = {
    '/': '/',
    '/a/b?x=1': '/a/b?x=1',
    '/a/?': '/a/?',
    '?x': 'bad: the request target is no path',
    '//a///b/': '/a/b/',
    '/./a/./b/.': '/a/b/',
    '/a/b/../c': '/a/c',
    '/a/b/..': '/a/',
    '/..': 'bad: the path climbs above its root',
    '/a/../../b': 'bad: the path climbs above its root',
    '/%2e%2e/a': 'bad: the path climbs above its root',
    '/a/%2E%2e/b': '/b',
    '/a/.%2e/b': '/b',
    '/...': '/...',
    '/.well-known/x': '/.well-known/x',
    '/%61dmin': '/admin',
    '/%7Euser/%c3%a9': '/~user/%C3%A9',
    '/a%20b%3Fc': '/a%20b%3Fc',
    '/a|b{c}"<d>^`': '/a%7Cb%7Bc%7D%22%3Cd%3E%5E%60',
    '/a%': 'bad: the path has a percent sign that encodes nothing',
    '/a%2': 'bad: the path has a percent sign that encodes nothing',
    '/a%zz': 'bad: the path has a percent sign that encodes nothing',
    '/a%00b': 'bad: the path has an encoded control character',
    '/a%0d%0aX: y': 'bad: the path has an encoded control character',
    '/a%7f': 'bad: the path has an encoded control character',
    '/a\\b': 'bad: the path has a backslash',
    '/a#b': 'bad: the request target has a fragment',
    '/a?b#c': 'bad: the request target has a fragment',
    '/@scope%2fname': '/@scope%2Fname',
    '/a%5Cb': '/a%5Cb',
    '/a%2F..%2Fadmin': 'bad: the path has an encoded slash beside a dot or another slash',
    '/a/..%5cadmin': 'bad: the path has an encoded slash beside a dot or another slash',
    '/%2Fadmin': 'bad: the path has an encoded slash beside a dot or another slash',
    '/a/..;/admin': 'bad: the path climbs above its root',
    '/a?x=100%&y=../..': '/a?x=100%&y=../..',
  };
  for (const [target, expected] of Object.entries(cases)) test(`of ${target} is ${expected}`, () => assert.equal(pathOf(target), expected));

  test('tells how an encoded slash may be read elsewhere', () => {
    const target = canonicalTarget('GET', '/a%2fb/c%5cd', 'h');
    assert.equal(target.type === 'target' && target.decodedPath, '/a/b/c/d');
    const plain = canonicalTarget('GET', '/a/b', 'h');
    assert.equal(plain.type === 'target' && plain.decodedPath, null);
  });

  test('is its own canonical form, and no server finds a dot segment in it', () => {
    const piece = fc.constantFrom('/', '.', '..', '%2e', '%2F', '%5c', 'a', 'b', ';', '%41', '%zz', '?', '=', '\\', '%25', '%00');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const once = canonicalTarget('GET', `/${pieces.join('')}`, 'h');
        if (once.type === 'bad') return;
        const twice = canonicalTarget('GET', once.path + once.query, 'h');
        assert.deepEqual(twice, once);
        const decoded = decodeURIComponent(once.path.replaceAll('%25', '%2525')).replaceAll('\\', '/');
        for (const segment of decoded.split('/').slice(1, -1)) assert.ok(segment !== '' && segment !== '.' && segment !== '..', once.path);
      }),
      { numRuns: 5_000 },
    );
  });
});

describe('the forms of a request target', () => {
  const cases: readonly (readonly [string, string, string, string])[] = [
    ['GET', 'http://shop.localhost/a', 'shop.localhost', 'shop.localhost /a'],
    ['GET', 'HTTP://Shop.localhost', 'shop.localhost', 'shop.localhost /'],
    ['GET', 'http://shop.localhost?x', 'shop.localhost', 'shop.localhost /?x'],
    ['GET', 'http://shop.localhost:80/a', 'shop.localhost', 'shop.localhost /a'],
    ['GET', 'http://other/a', 'shop.localhost', 'bad: the request line and the Host field name different hosts'],
    ['GET', 'http://shop.localhost:81/a', 'shop.localhost:80', 'bad: the request line and the Host field name different hosts'],
    ['GET', 'http://user@shop.localhost/a', 'shop.localhost', 'bad: the request target is no path'],
    ['GET', 'ftp://shop.localhost/a', 'shop.localhost', 'bad: the request target is no path'],
    ['GET', 'shop.localhost:443', 'shop.localhost', 'bad: the request target is no path'],
    ['OPTIONS', '*', 'shop.localhost', 'shop.localhost *'],
    ['GET', '*', 'shop.localhost', 'bad: only OPTIONS may ask for *'],
    ['GET', '/', 'Shop.Localhost.:8080', 'shop.localhost:8080 /'],
    ['GET', '/', '[2001:DB8:0:0::1]:8080', '[2001:db8::1]:8080 /'],
    ['GET', '/', '', 'bad: the Host field names no host'],
    ['GET', '/', 'user@shop', 'bad: the Host field names no host'],
    ['GET', '/', 'shop, other', 'bad: the Host field names no host'],
    ['GET', '/', '*.localhost', 'bad: the Host field names no host'],
    ['GET', '/', 'shop:99999', 'bad: the Host field names no host'],
    ['GET', '/', 'bücher.example', 'bad: the Host field names no host'],
    ['GET', '/', 'xn--bcher-kva.example', 'xn--bcher-kva.example /'],
    ['GET', '/', `${'a'.repeat(64)}.b`, 'bad: the Host field names no host'],
    ['GET', '/', Array.from({ length: 64 }, () => 'abc').join('.'), 'bad: the Host field names no host'],
  ];
  for (const [method, target, host, expected] of cases) {
    test(`${method} ${target} of ${host.slice(0, 40)} is ${expected}`, () => assert.equal(read(target, host, method), expected));
  }
});

describe('a host', () => {
  const cases: Record<string, string | null> = {
    'Shop.Localhost': 'shop.localhost',
    'shop.localhost.': 'shop.localhost',
    'shop.localhost:8080': 'shop.localhost',
    'shop.localhost.:8080': 'shop.localhost',
    'shop.localhost:': 'shop.localhost',
    '127.0.0.1:80': '127.0.0.1',
    '[::1]:8080': '::1',
    '[2001:DB8::1]': '2001:db8::1',
    '2001:DB8::1': '2001:db8::1',
    '0:0:0:0:0:0:0:0': '::',
    '1:0:0:2:0:0:0:3': '1:0:0:2::3',
    '::ffff:127.0.0.1': '::ffff:7f00:1',
    '::ffff:127.0.0.300': null,
    '1::2::3': null,
    '1:2:3': null,
    '12345::': null,
    localhost: 'localhost',
    '': null,
    'a b': null,
    'a..b': null,
    'a/b': null,
    'user@host': null,
    'host:80x': null,
    '[::1': null,
    '[::1]x': null,
    '.': null,
    '-a': null,
    'a-.b': null,
  };
  for (const [given, expected] of Object.entries(cases)) {
    test(`${JSON.stringify(given)} is ${expected ?? 'none'}`, () => assert.equal(canonicalHost(given), expected));
  }

  test('has one spelling, which is its own', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ maxLength: 30 }), fc.ipV6(), fc.domain()), (given) => {
        const once = canonicalHost(given);
        if (once !== null) assert.equal(canonicalHost(once), once);
      }),
      { numRuns: 2_000 },
    );
  });

  test('every address that the platform knows is one', () => {
    fc.assert(fc.property(fc.ipV6(), (given) => canonicalHost(`[${given}]`) !== null));
  });
});
