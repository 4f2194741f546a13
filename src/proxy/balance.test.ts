import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { createSeededRandom } from '../lib/id.ts';
import { pickByKey } from './balance.ts';
import { hashText } from './hash-text.ts';
import { aGroup, aTarget } from './target-fixture.ts';
import type { TestGroup } from './target-fixture.ts';
import type { PickFacts } from './target-group.ts';
import type { TargetState } from './target-state.ts';

const NO_FACTS = { header: () => undefined, secure: false };
const names = (count: number): string[] => Array.from({ length: count }, (_, index) => `t${index}`);

function pick(test_: TestGroup, facts: PickFacts = NO_FACTS): TargetState {
  const picked = test_.group.pick(test_.states, facts, null);
  assert.ok(picked !== null && picked !== 'busy');
  return picked;
}

function countPicks(group: TestGroup, rounds: number, after: (state: TargetState) => void): Map<string, number> {
  const counts = new Map<string, number>();
  for (let round = 0; round < rounds; round += 1) {
    const state = pick(group);
    counts.set(state.target.id, (counts.get(state.target.id) ?? 0) + 1);
    after(state);
  }
  return counts;
}

test('in turn, each target gets the same number of requests, to one', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 200 }), (targets, rounds) => {
      const counts = [...countPicks(aGroup(names(targets), { balance: { kind: 'round-robin' } }), rounds, () => undefined).values()];
      const all = counts.concat(Array.from({ length: targets - counts.length }, () => 0));
      assert.ok(Math.max(...all) - Math.min(...all) <= 1);
    }),
  );
});

test('a turn survives a change of the list', () => {
  const group = aGroup(['a', 'b', 'c'], { balance: { kind: 'round-robin' } });
  assert.deepEqual(
    [0, 1].map(() => pick(group).target.id),
    ['a', 'b'],
  );
  const states = group.group.use([aTarget('a'), aTarget('b'), aTarget('c'), aTarget('d')], []);
  assert.ok(states[0] === group.states[0], 'what is known of a target stays');
  assert.equal(pick({ ...group, states }).target.id, 'c');
});

test('with equal targets that are kept busy, least keeps all within a few requests of each other', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 16 }), fc.integer({ min: 50, max: 400 }), (targets, open) => {
      const group = aGroup(names(targets));
      for (let round = 0; round < open; round += 1) pick(group).begin();
      const counts = group.states.map((state) => state.open);
      // Two choices: log log n off the mean, where one choice is several square roots of the mean off.
      assert.ok(Math.max(...counts) - open / targets <= 4, JSON.stringify(counts));
    }),
    { numRuns: 50 },
  );
});

test('least gives a slow target less, in a simulation with ten clients', async () => {
  const group = aGroup(['fast1', 'fast2', 'slow']);
  const latencyMs = { fast1: 10, fast2: 10, slow: 100 };
  const counts = new Map<string, number>();
  const under: { readonly state: TargetState; readonly epoch: number; readonly endMs: number; readonly latencyMs: number }[] = [];
  for (let tick = 0; tick < 2_000; tick += 1) {
    const nowMs = group.clock.monotonic();
    for (let index = under.length - 1; index >= 0; index -= 1) {
      const each = under[index];
      if (each === undefined || each.endMs > nowMs) continue;
      under.splice(index, 1);
      each.state.leave(true);
      each.state.answered(nowMs, each.latencyMs, 200, each.epoch);
      each.state.end();
    }
    while (under.length < 10) {
      const state = pick(group);
      const id = state.target.id;
      counts.set(id, (counts.get(id) ?? 0) + 1);
      const taken = id === 'slow' ? latencyMs.slow : latencyMs.fast1;
      const epoch = state.begin();
      state.sent(nowMs);
      under.push({ state, epoch, endMs: nowMs + taken, latencyMs: taken });
    }
    await group.clock.advance(1);
  }
  const share = (id: string): number => (counts.get(id) ?? 0) / [...counts.values()].reduce((sum, count) => sum + count, 0);
  assert.ok(share('slow') < 0.06, `slow got ${share('slow')}`);
  assert.ok(Math.abs(share('fast1') - share('fast2')) < 0.1);
});

test('a target that hangs is avoided before anything has failed', async () => {
  const group = aGroup(['a', 'b', 'hangs'], { eject: null });
  for (const state of group.states) group.request(state, 200, 5);
  const hanging = group.states[2];
  assert.ok(hanging !== undefined);
  hanging.begin();
  hanging.sent(group.clock.monotonic());
  await group.clock.advance(200);
  const counts = countPicks(group, 300, (state) => group.request(state, 200, 5));
  assert.equal(counts.get('hangs') ?? 0, 0);
});

test('a target that hangs is avoided from the first moment on, though all are fresh', async () => {
  for (const ageMs of [0, 1_000, 5_000, 9_000]) {
    const group = aGroup(['a', 'b', 'hangs'], { eject: null, slowStartMs: 10_000 });
    await group.clock.advance(ageMs);
    const hanging = group.states[2];
    for (const state of group.states) if (state !== hanging) group.request(state, 200, 5);
    hanging?.begin();
    hanging?.sent(group.clock.monotonic());
    const counts = countPicks(group, 300, (state) => group.request(state, 200, 5));
    assert.ok((counts.get('hangs') ?? 0) <= 1, `${counts.get('hangs')} at ${ageMs} ms`);
  }
});

test('a slow upload is no silence of the target', async () => {
  const group = aGroup(['a', 'b']);
  const state = group.states[0];
  assert.ok(state !== undefined);
  state.begin();
  await group.clock.advance(60_000);
  assert.equal(state.silenceMs(group.clock.monotonic()), 0);
});

test('a key keeps its target until that one goes, and then only the keys of that one move', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 12 }), fc.nat(11), fc.integer(), (targets, gone, seed) => {
      const { states } = aGroup(names(targets));
      const random = createSeededRandom(seed);
      const left = states.filter((_, index) => index !== gone % targets);
      for (let index = 0; index < 100; index += 1) {
        const key = hashText(`key ${random.next()}`);
        const before = pickByKey(states, key, null);
        const after = pickByKey(left, key, null);
        if (before !== null && left.includes(before)) assert.equal(after, before);
        else assert.ok(after !== null);
      }
    }),
  );
});

test('keys are spread evenly', () => {
  const { states } = aGroup(names(8));
  const counts = new Map<string, number>();
  for (let index = 0; index < 8_000; index += 1) {
    const id = pickByKey(states, hashText(`user-${index}`), null)?.target.id ?? '';
    counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  for (const count of counts.values()) assert.ok(count > 850 && count < 1_150, String(count));
});

test('hash reads its header or cookie; who has none is served all the same', () => {
  const group = aGroup(names(5), { balance: { kind: 'hash', by: { kind: 'cookie', name: 'sid' } } });
  const facts = (cookie: string | undefined): PickFacts => ({
    header: (name) => (name === 'cookie' ? cookie : undefined),
    secure: false,
  });
  const first = pick(group, facts('a=1; sid=xyz'));
  for (let round = 0; round < 20; round += 1) assert.equal(pick(group, facts(`sid=xyz; b=${round}`)), first);
  assert.ok(new Set(Array.from({ length: 50 }, () => pick(group, facts(undefined)))).size > 1);
  assert.ok(new Set(Array.from({ length: 50 }, (_, index) => pick(group, facts(`sid=u${index}`)))).size > 1);
});

test('a sticky client gets a cookie that leads to its target and tells nothing about it', () => {
  const group = aGroup(names(4), { balance: { kind: 'sticky', cookie: 'pin' } });
  const state = pick(group);
  const cookie = group.group.stickyCookie(state, NO_FACTS);
  assert.match(cookie ?? '', /^pin=[\w-]{22}; Path=\/; HttpOnly; SameSite=Lax$/u);
  assert.ok(cookie?.includes(state.target.id) === false && !cookie.includes('127.0.0.1'));
  assert.equal(group.group.stickyCookie(state, { ...NO_FACTS, secure: true }), `${cookie}; Secure`);
  const returning = { header: (name: string) => (name === 'cookie' ? cookie?.split(';')[0] : undefined), secure: false };
  for (let round = 0; round < 20; round += 1) assert.equal(pick(group, returning), state);
  assert.equal(group.group.stickyCookie(state, returning), null);
  assert.equal(aGroup(['t0', 'x']).states[0]?.token, aGroup(['y', 't0']).states[1]?.token, 'the same on every Edge');
  const left = group.group.use(
    names(4)
      .map(aTarget)
      .filter((target) => target.id !== state.target.id),
    [aTarget(state.target.id)],
  );
  const other = group.group.pick(left, returning, null);
  assert.ok(other !== null && other !== 'busy' && other !== state);
  assert.notEqual(group.group.stickyCookie(other, returning), null);
});

test('a fresh target gets its part slowly', async () => {
  for (const kind of ['least', 'round-robin'] as const) {
    const group = aGroup(['old'], { balance: { kind }, slowStartMs: 10_000 });
    await group.clock.advance(20_000);
    const states = group.group.use([aTarget('old'), aTarget('fresh')], []);
    const shareNow = (): number =>
      (countPicks({ ...group, states }, 1_000, (state) => group.request(state, 200, 5)).get('fresh') ?? 0) / 1_000;
    const first = shareNow();
    assert.ok(first > 0.03 && first < 0.2, `${kind} began with ${first}`);
    await group.clock.advance(10_000);
    const later = shareNow();
    assert.ok(later > 0.4 && later < 0.6, `${kind} ended with ${later}`);
  }
});

test('a full target is passed over, and where all are full the answer is busy', () => {
  for (const limit of [{ maxOpen: 2 }, { maxPending: 2 }, { maxConnections: 2 }]) {
    const group = aGroup(['a', 'b'], limit);
    for (let round = 0; round < 4; round += 1) pick(group).begin();
    assert.deepEqual(
      group.states.map((state) => state.open),
      [2, 2],
    );
    assert.equal(group.group.pick(group.states, NO_FACTS, null), 'busy');
  }
  const tried = aGroup(['a']);
  assert.equal(tried.group.pick(tried.states, NO_FACTS, new Set(tried.states)), null);
  assert.equal(tried.group.pick([], NO_FACTS, null), null);
});

test('a group as a whole has a bound, whatever its targets would take', () => {
  const group = aGroup(names(3));
  for (let round = 0; round < 1_000; round += 1) pick(group).begin();
  assert.equal(group.group.pick(group.states, NO_FACTS, null), 'busy');
  group.states[0]?.end();
  assert.notEqual(group.group.pick(group.states, NO_FACTS, null), 'busy');
});
