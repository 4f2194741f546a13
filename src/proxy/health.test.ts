import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { DEFAULT_TRAFFIC } from '../model/traffic-policy.ts';
import type { EjectPolicy } from '../model/traffic-policy.ts';
import { aGroup, aTarget } from './target-fixture.ts';
import type { TestGroup } from './target-fixture.ts';
import type { TargetState } from './target-state.ts';

const NO_FACTS = { header: () => undefined, secure: false };
const names = (count: number): string[] => Array.from({ length: count }, (_, index) => `t${index}`);
const ejectBy = (change: Partial<EjectPolicy>): { readonly eject: EjectPolicy } => {
  const { eject } = DEFAULT_TRAFFIC;
  assert.ok(eject !== null);
  return { eject: { ...eject, ...change } };
};

function stateOf(group: TestGroup, id: string): TargetState {
  const state = group.states.find((each) => each.target.id === id);
  assert.ok(state !== undefined);
  return state;
}

/** Ids of what is picked for the next requests, without making any. */
function picks(group: TestGroup, rounds = 60): string[] {
  const found = new Set<string>();
  for (let round = 0; round < rounds; round += 1) {
    const state = group.group.pick(group.states, NO_FACTS, null);
    found.add(state === null || state === 'busy' ? String(state) : state.target.id);
  }
  return [...found].sort();
}

test('a refused connection ejects at once; each further time lasts longer, up to a bound', async () => {
  const group = aGroup(['a', 'b']);
  const state = stateOf(group, 'a');
  const times: number[] = [];
  for (let round = 0; round < 7; round += 1) {
    group.request(state, 'refused');
    assert.deepEqual(picks(group), ['b']);
    let ms = 0;
    while (group.out().length > 0) {
      await group.clock.advance(100);
      ms += 100;
    }
    times.push(ms);
  }
  assert.deepEqual(times, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
  group.request(state, 200);
  await group.clock.advance(10_000);
  group.request(state, 'refused');
  await group.clock.advance(500);
  assert.deepEqual(group.out(), [], 'after a while in service it begins anew');
});

test('failures of requests that began together are one observation', async () => {
  const group = aGroup(['a', 'b']);
  const state = stateOf(group, 'a');
  const epochs = Array.from({ length: 5 }, () => state.begin());
  for (const epoch of epochs) state.refused(group.clock.monotonic(), epoch);
  await group.clock.advance(500);
  assert.deepEqual(group.out(), []);
});

test('while no probe succeeds it stays out, and is asked more and more rarely', async () => {
  const group = aGroup(['a', 'b'], {}, '/healthz');
  group.alive('a', false);
  group.request(stateOf(group, 'a'), 'refused');
  await group.clock.advance(60_000);
  assert.deepEqual(group.out(), ['a']);
  assert.ok(group.probes.length >= 7 && group.probes.length <= 10, String(group.probes.length));
  group.alive('a', true);
  await group.clock.advance(10_000);
  assert.deepEqual(group.out(), []);
  assert.deepEqual([...new Set(group.probes)], ['a tcp']);
});

test('three failures in a row eject, answers in between do not let it come to that; the health check is asked before it comes back', async () => {
  const group = aGroup(['a', 'b', 'c'], {}, '/healthz');
  const state = stateOf(group, 'a');
  for (const outcome of ['failed', 'failed', 200, 'failed', 'failed', 404] as const) group.request(state, outcome);
  assert.deepEqual(group.out(), []);
  for (let round = 0; round < 3; round += 1) group.request(state, 'failed');
  assert.deepEqual(group.out(), ['a']);
  group.alive('a', false);
  await group.clock.advance(5_000);
  assert.deepEqual([group.probes, group.out()], [['a /healthz'], ['a']]);
  group.alive('a', true);
  await group.clock.advance(10_000);
  assert.deepEqual(group.out(), []);
});

test('what is back gets one request; when that fails it is out again for longer, when it succeeds it is in', async () => {
  const group = aGroup(['a', 'b']);
  const state = stateOf(group, 'a');
  for (let round = 0; round < 3; round += 1) group.request(state, 'failed');
  await group.clock.advance(5_000);
  assert.deepEqual(picks(group), ['a', 'b']);
  const trial = state.begin();
  assert.deepEqual(picks(group), ['b'], 'nothing else goes there meanwhile');
  state.leave(false);
  state.failed(group.clock.monotonic(), trial);
  state.end();
  assert.deepEqual(group.out(), ['a']);
  await group.clock.advance(9_900);
  assert.deepEqual(group.out(), ['a'], 'twice as long');
  await group.clock.advance(100);
  group.request(state, 200);
  assert.deepEqual(picks(group), ['a', 'b']);
});

test('a trial that a client gives up is followed by another one, and a long silence is a failure', async () => {
  const group = aGroup(['a', 'b']);
  const state = stateOf(group, 'a');
  for (let round = 0; round < 3; round += 1) group.request(state, 'failed');
  await group.clock.advance(5_000);
  const giveUp = (waitedMs: number): void => {
    const epoch = state.begin();
    state.leave(false);
    state.abandoned(group.clock.monotonic(), waitedMs, epoch);
    state.end();
  };
  giveUp(10);
  assert.deepEqual([group.out(), picks(group)], [[], ['a', 'b']]);
  giveUp(2_000);
  assert.deepEqual(group.out(), ['a']);
});

test('a target with far more errors than the others is ejected; an App that is broken everywhere keeps all', () => {
  const one = aGroup(['a', 'b', 'c']);
  for (let round = 0; round < 30; round += 1) {
    for (const state of one.states) if (state.out === null) one.request(state, state.target.id === 'a' ? 500 : 200);
  }
  assert.deepEqual(one.out(), ['a']);
  const all = aGroup(['a', 'b', 'c']);
  for (let round = 0; round < 100; round += 1) for (const state of all.states) all.request(state, 500);
  assert.deepEqual(all.out(), []);
  const off = aGroup(['a', 'b', 'c'], ejectBy({ errorsPercent: 0 }));
  for (let round = 0; round < 100; round += 1) for (const state of off.states) off.request(state, state.target.id === 'a' ? 500 : 200);
  assert.deepEqual(off.out(), []);
});

test('errors of before are forgotten after ten seconds', async () => {
  const group = aGroup(['a', 'b']);
  const [a, b] = [stateOf(group, 'a'), stateOf(group, 'b')];
  for (let round = 0; round < 19; round += 1) group.request(a, 500);
  await group.clock.advance(10_000);
  for (let round = 0; round < 30; round += 1) group.request(b, 200);
  group.request(a, 500);
  assert.deepEqual(group.out(), []);
});

test('a target that begins no answer is ejected while others answer, and not where the whole App is silent', async () => {
  const group = aGroup(['a', 'b', 'c']);
  const [a, b, c] = [stateOf(group, 'a'), stateOf(group, 'b'), stateOf(group, 'c')];
  a.begin();
  a.sent(group.clock.monotonic());
  for (let second = 0; second < 6; second += 1) {
    group.request(b, 200);
    group.request(c, 200);
    await group.clock.advance(1_000);
    picks(group, 1);
  }
  assert.deepEqual(group.out(), ['a']);
  const silent = aGroup(['a', 'b', 'c']);
  for (const state of silent.states) {
    state.begin();
    state.sent(silent.clock.monotonic());
  }
  await silent.clock.advance(20_000);
  picks(silent, 1);
  assert.deepEqual(silent.out(), []);
});

test('one that was silent is looked at as soon as it answers anything', async () => {
  const group = aGroup(['a', 'b']);
  const [a, b] = [stateOf(group, 'a'), stateOf(group, 'b')];
  const epochs = [a.begin(), a.begin()];
  a.sent(group.clock.monotonic());
  a.sent(group.clock.monotonic());
  await group.clock.advance(5_000);
  group.request(b, 200);
  picks(group, 1);
  assert.deepEqual(group.out(), ['a']);
  await group.clock.advance(100);
  for (const epoch of epochs) {
    a.leave(true);
    a.answered(group.clock.monotonic(), 5_100, 200, epoch);
  }
  await group.clock.advance(0);
  assert.deepEqual([group.out(), group.probes], [[], ['a tcp']]);
  assert.deepEqual(picks(group), ['a', 'b'], 'its long silence is not held against it');
});

test('with ejection switched off only refused connections count', () => {
  const group = aGroup(['a', 'b'], { eject: null });
  for (let round = 0; round < 50; round += 1) group.request(stateOf(group, 'a'), 'failed');
  assert.deepEqual(group.out(), []);
  group.request(stateOf(group, 'a'), 'refused');
  assert.deepEqual(group.out(), ['a']);
});

test('a target that leaves the list is forgotten, one that stays stays out; the state of others does not move', async () => {
  const group = aGroup(['a', 'b', 'c', 'd']);
  group.request(stateOf(group, 'a'), 'refused');
  group.request(stateOf(group, 'b'), 'refused');
  group.alive('b', false);
  const next = group.group.use(['b', 'c', 'd'].map(aTarget), [aTarget('a')]);
  assert.deepEqual(group.out(), ['b']);
  assert.equal(next[1], stateOf(group, 'c'));
  await group.clock.advance(500);
  assert.deepEqual(group.probes, ['b tcp']);
});

test('a policy that comes later ends trials, so that nothing is left on trial for ever', async () => {
  const group = aGroup(['a', 'b']);
  group.request(stateOf(group, 'a'), 'refused');
  await group.clock.advance(500);
  stateOf(group, 'a').begin();
  assert.deepEqual(picks(group), ['b']);
  group.group.configure({ ...DEFAULT_TRAFFIC, slowStartMs: 0, eject: null }, null);
  group.group.use(['a', 'b'].map(aTarget), []);
  assert.equal(stateOf(group, 'a').trial, false);
  group.states[1]?.begin();
  assert.deepEqual(picks(group), ['a', 'b']);
});

test('whatever happens: never all are out, suspicions keep to their share, and something is picked while there is room', async () => {
  const event = fc.record({
    target: fc.nat(7),
    outcome: fc.constantFrom<'failed' | 'refused' | 'hang' | number>('failed', 'refused', 500, 200, 'hang'),
    pauseMs: fc.constantFrom(0, 0, 100, 3_000, 20_000),
    alive: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 0, max: 100 }),
      fc.array(event, { maxLength: 80 }),
      async (targets, sharePercent, events) => {
        const group = aGroup(names(targets), ejectBy({ sharePercent, stallMs: 1_000 }));
        for (const { target, outcome, pauseMs, alive } of events) {
          const picked = group.group.pick(group.states, NO_FACTS, null);
          assert.ok(picked !== null && picked !== 'busy', 'something is picked');
          const state = target < targets ? group.states[target] : picked;
          if (state === undefined) continue;
          if (outcome === 'hang') {
            state.begin();
            state.sent(group.clock.monotonic());
          } else group.request(state, outcome);
          group.alive(state.target.id, alive);
          await group.clock.advance(pauseMs);
          const out = group.states.filter((each) => each.out !== null);
          assert.ok(out.length < targets || targets === 0, 'never all');
          const last = out.at(-1);
          if (last !== undefined && out.every((each) => each.out !== 'refused')) {
            assert.ok(out.length <= Math.max(1, Math.floor((targets * sharePercent) / 100)));
          }
        }
      },
    ),
    { numRuns: 150 },
  );
});
