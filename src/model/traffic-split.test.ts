import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createSeededRandom } from '../lib/id.ts';
import { chooseVersion, cookieOf, isWithin } from './traffic-split.ts';
import type { Share, SplitFacts, Sticky } from './traffic-split.ts';

const source = createSeededRandom(42);

const facts = (headers: Readonly<Record<string, string>> = {}, address = '10.0.0.1'): SplitFacts => ({
  header: (name) => headers[name],
  address,
  random: () => source.next(),
  newUser: () => Array.from({ length: 24 }, () => Math.floor(source.next() * 16).toString(16)).join(''),
});

const share = (percent: number, change: Partial<Share> = {}): Share => ({ percent, rules: [], sticky: null, ...change });

const stickies: readonly Sticky[] = [
  { kind: 'address' },
  { kind: 'header', name: 'x-user' },
  { kind: 'cookie', name: 'session' },
  { kind: 'cookie', name: null },
];

test('of 100k requests the candidate gets its share within half a point, whatever users are known by', () => {
  for (const percent of [0.5, 1, 10, 33, 50, 90]) {
    for (const sticky of [null, ...stickies]) {
      let candidate = 0;
      for (let index = 0; index < 100_000; index += 1) {
        const user = `user-${index}`;
        const address = `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`;
        const request =
          sticky?.kind === 'cookie' && sticky.name === null ? facts() : facts({ 'x-user': user, cookie: `a=b; session=${user}` }, address);
        if (chooseVersion(share(percent, { sticky }), 'candidate-7', request).candidate) candidate += 1;
      }
      const seen = candidate / 1000;
      assert.ok(Math.abs(seen - percent) <= 0.5, `${seen} % instead of ${percent} %, by ${JSON.stringify(sticky)}`);
    }
  }
});

test('a user sees one version at every Edge and keeps the candidate while its share grows', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...stickies.slice(0, 3)),
      fc.stringMatching(/^[\w-]{1,40}$/u),
      fc.array(fc.double({ min: 0, max: 100, noNaN: true }), { minLength: 2, maxLength: 8 }),
      (sticky, user, percents) => {
        let was = false;
        for (const percent of percents.toSorted((a, b) => a - b)) {
          const request = facts({ 'x-user': user, cookie: `session=${user}` }, user);
          const { candidate } = chooseVersion(share(percent, { sticky }), 'c', request);
          assert.equal(
            chooseVersion(share(percent, { sticky }), 'c', facts({ 'x-user': user, cookie: `session=${user}` }, user)).candidate,
            candidate,
          );
          assert.ok(candidate || !was, 'sent back');
          was = candidate;
        }
      },
    ),
  );
});

test('who has no name yet gets one, and the name is what the choice went by', () => {
  const sticky = { kind: 'cookie', name: null } as const;
  for (let index = 0; index < 200; index += 1) {
    const first = chooseVersion(share(40, { sticky }), 'c', facts());
    assert.match(first.setUser ?? '', /^[\w-]{16,64}$/u);
    const again = chooseVersion(share(40, { sticky }), 'c', facts({ cookie: `x=1; libra_user=${first.setUser}` }));
    assert.deepEqual(again, { candidate: first.candidate, setUser: null });
    assert.ok(!first.candidate || chooseVersion(share(41, { sticky }), 'c', facts({ cookie: `libra_user=${first.setUser}` })).candidate);
  }
  assert.notEqual(
    chooseVersion(share(40, { sticky }), 'c', facts({ cookie: 'libra_user=<script>' })).setUser,
    null,
    'a foreign value is replaced',
  );
});

test('who is not known by what was asked for is known by the address', () => {
  const sticky = { kind: 'header', name: 'x-user' } as const;
  const seen = new Set(Array.from({ length: 50 }, () => chooseVersion(share(50, { sticky }), 'c', facts({}, '10.1.2.3')).candidate));
  assert.equal(seen.size, 1);
});

test('another candidate begins with other users', () => {
  const first = (salt: string): string[] =>
    Array.from({ length: 2000 }, (_unused, index) => `u${index}`).filter((user) => isWithin(salt, user, 10));
  const both = first('c1').filter((user) => first('c2').includes(user));
  assert.ok(both.length < 60, `${both.length} of 200 twice`);
});

test('rules win over the share, even over none, and a share of all or nothing draws nothing', () => {
  const rules = [
    { kind: 'header', name: 'x-beta', value: '1' },
    { kind: 'cookie', name: 'canary', value: null },
  ] as const;
  const quiet: SplitFacts = { ...facts(), random: () => assert.fail('drawn'), newUser: () => assert.fail('named') };
  const is = (headers: Readonly<Record<string, string>>, percent = 0): boolean =>
    chooseVersion(share(percent, { rules, sticky: { kind: 'cookie', name: null } }), 'c', { ...quiet, header: (name) => headers[name] })
      .candidate;
  assert.equal(is({ 'x-beta': '1' }), true);
  assert.equal(is({ 'x-beta': '2' }), false);
  assert.equal(is({ cookie: 'a=1; canary=' }), true);
  assert.equal(is({ cookie: 'xcanary=1' }), false);
  assert.equal(is({}), false);
  assert.equal(is({}, 100), true);
});

test('a cookie is found by its whole name, its quotes are no part of it', () => {
  assert.equal(cookieOf('a=1;b="two"; c=3=4', 'b'), 'two');
  assert.equal(cookieOf('a=1;b="two"; c=3=4', 'c'), '3=4');
  assert.equal(cookieOf('ab=1', 'b'), undefined);
  assert.equal(cookieOf('b', 'b'), undefined);
  assert.equal(cookieOf(undefined, 'b'), undefined);
  fc.assert(fc.property(fc.string(), fc.string(), (header, name) => void cookieOf(header, name)));
});
