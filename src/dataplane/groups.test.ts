import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RouteGroup, RouteTarget } from '../api/dataplane.ts';
import { createFakeClock } from '../lib/clock.ts';
import { DEFAULT_TRAFFIC } from '../model/traffic-policy.ts';
import type { TrafficPolicy } from '../model/traffic-policy.ts';
import type { TargetState } from '../proxy/target-state.ts';
import { group } from '../edge/edge-fixture.ts';
import { createGroups } from './groups.ts';
import type { Groups } from './groups.ts';
import type { VersionChoice } from './versions.ts';

const target = (id: string, state: 'active' | 'draining' = 'active') =>
  ({ instanceId: id, deploymentId: 'd', nodeId: 'n', host: '127.0.0.1', port: 1, state, drainUntilMs: null }) as const;

function build(openPerTarget = 10): { groups: Groups; clock: ReturnType<typeof createFakeClock>; ejected: string[] } {
  const clock = createFakeClock();
  const ejected: string[] = [];
  const groups = createGroups({
    clock,
    probe: () => Promise.resolve(true),
    openPerTarget,
    openPerGroup: 1_000,
    waitMs: 5_000,
    waitingPerGroup: 2,
    onEjected: (from, id, reason) => void ejected.push(`${from.app} ${id} ${reason ?? 'is back'}`),
  });
  return { groups, clock, ejected };
}

const FACTS = { header: () => undefined, secure: false };
const IN_TURN: TrafficPolicy = { ...DEFAULT_TRAFFIC, balance: { kind: 'round-robin' }, slowStartMs: 0 };

function pick(groups: Groups, tried: readonly TargetState[] = [], version?: VersionChoice): TargetState | 'busy' | null {
  const live = groups.get('g');
  assert.ok(live !== null);
  return live.pick(FACTS, tried.length === 0 ? null : new Set(tried), version);
}

function pickOne(groups: Groups): TargetState {
  const picked = pick(groups);
  assert.ok(picked !== null && picked !== 'busy');
  return picked;
}

const ids = (groups: Groups, count: number): string[] => Array.from({ length: count }, () => pickOne(groups).target.id);

test('only active targets are picked, and turn and state survive a change of the table', () => {
  const { groups } = build();
  const inTurn = (...targets: RouteTarget[]): RouteGroup => ({ ...group('g', targets), policy: IN_TURN });
  groups.change([inTurn(target('a'), target('b'), target('old', 'draining'))], []);
  assert.deepEqual(ids(groups, 3), ['a', 'b', 'a']);
  const live = groups.get('g');
  const b = pickOne(groups);
  b.begin();
  groups.change([inTurn(target('a'), target('b'))], []);
  assert.equal(groups.get('g'), live);
  const [a, again] = [pickOne(groups), pickOne(groups)];
  assert.equal(again, b);
  assert.equal(again.open, 1);
  assert.equal(pick(groups, [b]), a);
  assert.equal(pick(groups, [a, b]), null);
  assert.equal(groups.get('unknown'), null);
});

test('a change of one group does not touch another, and a group that is gone gives nothing', () => {
  const { groups } = build();
  const other = group('other', [target('x')]);
  groups.change([group('g', [target('a')]), other], []);
  const [live, kept] = [groups.get('g'), groups.get('other')];
  const before = kept?.pick(FACTS, null);
  groups.change([other], ['g']);
  assert.equal(groups.get('other'), kept);
  assert.equal(kept?.pick(FACTS, null), before);
  assert.equal(live?.pick(FACTS, null), null);
});

test('a target that refused is left out for a while, unless it is the only one that is left', async () => {
  const { groups, clock, ejected } = build();
  groups.change([group('g', [target('a'), target('b')])], []);
  const a = pickOne(groups);
  a.refused(clock.monotonic(), a.begin());
  const b = pickOne(groups);
  assert.deepEqual(new Set(ids(groups, 20)), new Set([b.target.id]));
  assert.equal(pick(groups, [b]), a);
  assert.deepEqual([groups.ejected(), ejected], [[a.target.id], [`g ${a.target.id} refused`]]);
  await clock.advance(600);
  assert.deepEqual(groups.ejected(), []);
  assert.equal(ejected.at(-1), `g ${a.target.id} is back`);
});

test('a full target is passed over; where all are full the answer is busy', () => {
  const { groups } = build(1);
  groups.change([group('g', [target('a'), target('b')])], []);
  const first = pickOne(groups);
  first.begin();
  const second = pickOne(groups);
  assert.notEqual(second, first);
  second.begin();
  assert.equal(pick(groups), 'busy');
  first.leave(false);
  assert.equal(pick(groups), 'busy', 'its answer is not over yet');
  first.end();
  assert.equal(pick(groups), first);
});

test('the version is chosen first, then a target of it; without a choice never the candidate', () => {
  const { groups } = build();
  const split = { percent: 50, rules: [], sticky: null, stableDeploymentId: 'd', candidateDeploymentId: 'new' };
  const targets = [target('a'), target('b'), { ...target('c'), deploymentId: 'new' }, { ...target('other'), deploymentId: 'odd' }];
  groups.change([{ ...group('g', targets), split }], []);
  const choice = (candidate: boolean): VersionChoice => ({ isCandidate: () => candidate, setCookie: () => null });
  const picked = (version?: VersionChoice): Set<string> => {
    const found = Array.from({ length: 30 }, () => pick(groups, [], version));
    return new Set(found.map((state) => (state === null || state === 'busy' ? String(state) : state.target.id)));
  };
  assert.deepEqual(picked(choice(true)), new Set(['c']));
  assert.deepEqual(picked(choice(false)), new Set(['a', 'b']));
  assert.deepEqual(picked(), new Set(['a', 'b']));
  const canary = pick(groups, [], choice(true));
  assert.ok(canary !== null && canary !== 'busy');
  const instead = pick(groups, [canary], choice(true));
  assert.ok(instead !== null && instead !== 'busy' && instead !== canary, 'the other version rather than none');
});

test('waiting ends in order with a target, with false after its time, and is bounded', async () => {
  const { groups, clock } = build();
  groups.change([group('g', [], 'starting')], []);
  const { signal } = new AbortController();
  const ended: string[] = [];
  const first = groups.wait('g', signal).then((again) => ended.push(`first ${String(again)}`));
  const second = groups.wait('g', signal).then((again) => ended.push(`second ${String(again)}`));
  assert.equal(await groups.wait('g', signal), false);
  groups.change([group('g', [], 'starting')], []);
  assert.equal(groups.waiting(), 2);
  groups.change([group('g', [target('a')])], []);
  await Promise.all([first, second]);
  assert.deepEqual(ended, ['first true', 'second true']);
  groups.change([group('g', [], 'starting')], []);
  const late = groups.wait('g', signal);
  await clock.advance(5_000);
  assert.equal(await late, false);
  assert.equal(groups.waiting(), 0);
});

test('a client that leaves, and a group that fails, end the wait', async () => {
  const { groups } = build();
  groups.change([group('g', [], 'starting')], []);
  const client = new AbortController();
  const left = groups.wait('g', client.signal);
  client.abort();
  assert.equal(await left, false);
  const failed = groups.wait('g', new AbortController().signal);
  groups.change([group('g', [], 'down')], []);
  assert.equal(await failed, true);
  assert.equal(groups.waiting(), 0);
});
