import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCurlLine } from './curl-line.ts';

const read = (...words: string[]): unknown[] => {
  const line = parseCurlLine(words);
  assert.ok(line.ok, JSON.stringify(line));
  const { method, url, headers } = line.request;
  return [method, url.href, headers];
};

test('an URL alone, with or without its scheme', () => {
  assert.deepEqual(read('http://shop.localhost/a?b'), ['GET', 'http://shop.localhost/a?b', []]);
  assert.deepEqual(read('shop.localhost:8080/a'), ['GET', 'http://shop.localhost:8080/a', []]);
});

test('lines of curl, as one text and as words', () => {
  const line = `curl 'https://shop.example.com/api' -H 'X-Beta: 1' -H "accept: */*" -b 'a=1; b=2' -A Bot --compressed --insecure`;
  const expected = [
    'GET',
    'https://shop.example.com/api',
    [
      ['X-Beta', '1'],
      ['accept', '*/*'],
      ['Cookie', 'a=1; b=2'],
      ['User-Agent', 'Bot'],
    ],
  ];
  assert.deepEqual(read(line), expected);
  assert.deepEqual(read('curl', '-sSHX-Beta: 1', 'http://a/').length, 3);
  assert.deepEqual(read('curl', '-X', 'PUT', '-d', '{}', 'http://a/'), ['PUT', 'http://a/', []]);
  assert.deepEqual(read('curl', '-d', 'x', 'http://a/'), ['POST', 'http://a/', []]);
  assert.deepEqual(read('curl', '-G', '-d', 'x', 'http://a/'), ['GET', 'http://a/', []]);
  assert.deepEqual(read('curl', '-sI', 'http://a/'), ['HEAD', 'http://a/', []]);
  assert.deepEqual(read('curl', '-XDELETE', '-o', '/dev/null', '--max-time=3', 'http://a/'), ['DELETE', 'http://a/', []]);
  assert.deepEqual(read('curl', '-u', 'me:pw', 'http://a/'), ['GET', 'http://a/', [['Authorization', 'Basic bWU6cHc=']]]);
  assert.deepEqual(read("curl 'http://a/' \\\n  -H 'x: y'"), ['GET', 'http://a/', [['x', 'y']]]);
});

test('what is none says why', () => {
  for (const [words, why] of [
    [[], /no URL/u],
    [['curl', '-H', 'nonsense', 'http://a/'], /no header/u],
    [['curl', 'http://a/', 'http://b/'], /two URLs/u],
    [['curl', '-X'], /no value/u],
    [['ftp://a/'], /no URL of http/u],
  ] as const) {
    const line = parseCurlLine(words);
    assert.ok(!line.ok);
    assert.match(line.message, why);
  }
});
