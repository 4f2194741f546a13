import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fields } from '../proxy/fields.ts';
import { markSession } from './session-choice.ts';

function mark(headers: Readonly<Record<string, string>>, way?: string): readonly [string | null, string] {
  const origin = new Fields();
  const key = markSession(way, { header: (name) => headers[name] }, origin);
  return [
    key,
    origin
      .pairs()
      .map((pair) => pair.join(': '))
      .join(' | '),
  ];
}

test('the way names the session before the header, the header before the cookie, that before the baggage', () => {
  const all = { 'x-libra-session': 'header', cookie: 'x=1; libra-session=cookie', baggage: 'a=b, libra-session=bag;p=1' };
  assert.equal(mark(all, 'way')[0], 'way');
  assert.equal(mark(all)[0], 'header');
  assert.equal(mark({ cookie: all.cookie, baggage: all.baggage })[0], 'cookie');
  assert.equal(mark({ baggage: all.baggage })[0], 'bag');
});

test('the target is told the key, and in the baggage where that names none', () => {
  assert.deepEqual(mark({ cookie: 'libra-session=ana' }), ['ana', 'x-libra-session: ana | baggage: libra-session=ana']);
  assert.deepEqual(mark({ baggage: 'libra-session=ana' }), ['ana', 'x-libra-session: ana']);
});

test('what is no key names none', () => {
  const none: readonly Readonly<Record<string, string>>[] = [
    {},
    { 'x-libra-session': '' },
    { 'x-libra-session': 'Ana' },
    { 'x-libra-session': 'a, b' },
    { cookie: 'session=ana' },
    { baggage: 'libra-session' },
    { baggage: 'my-libra-session=ana' },
  ];
  for (const headers of none) assert.deepEqual(mark(headers), [null, ''], JSON.stringify(headers));
});
