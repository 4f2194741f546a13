import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeClock } from '../lib/clock.ts';
import { createOpenCounts } from '../proxy/drain.ts';
import { createPassiveHealth } from '../proxy/health.ts';
import { group } from './edge-fixture.ts';
import { createGroups } from './groups.ts';
import type { Groups } from './groups.ts';

const target = (id: string, state: 'active' | 'draining' = 'active') =>
  ({ instanceId: id, deploymentId: 'd', nodeId: 'n', host: '127.0.0.1', port: 1, state, drainUntilMs: null }) as const;

function build(openPerTarget = 10): {
  groups: Groups;
  clock: ReturnType<typeof createFakeClock>;
  health: ReturnType<typeof createPassiveHealth>;
  open: ReturnType<typeof createOpenCounts>;
} {
  const clock = createFakeClock();
  const health = createPassiveHealth(clock);
  const open = createOpenCounts(() => undefined);
  return { groups: createGroups({ clock, health, open, openPerTarget, waitMs: 5_000, waitingPerGroup: 2 }), clock, health, open };
}

const idOf = (picked: ReturnType<Groups['next']>): string | null => (picked === null || picked === 'busy' ? picked : picked.id);

test('only active targets are picked, in turn, and the turn survives a change of the table', () => {
  const { groups } = build();
  groups.replace([group('g', [target('a'), target('b'), target('old', 'draining')])]);
  assert.deepEqual(
    [0, 1, 2].map(() => idOf(groups.next('g', new Set()))),
    ['a', 'b', 'a'],
  );
  groups.replace([group('g', [target('a'), target('b')])]);
  assert.equal(idOf(groups.next('g', new Set())), 'b');
  assert.equal(idOf(groups.next('g', new Set(['b']))), 'a');
  assert.equal(groups.next('g', new Set(['a', 'b'])), null);
  assert.equal(groups.next('unknown', new Set()), null);
});

test('a target that refused is left out for a while, unless it is the only one', async () => {
  const { groups, health, clock } = build();
  groups.replace([group('g', [target('a'), target('b')])]);
  const first = groups.next('g', new Set());
  assert.ok(first !== null && first !== 'busy');
  health.failed(first);
  assert.deepEqual(
    [0, 1, 2].map(() => idOf(groups.next('g', new Set()))),
    ['b', 'b', 'b'],
  );
  assert.equal(idOf(groups.next('g', new Set(['b']))), 'a');
  await clock.advance(600);
  assert.ok([0, 1].map(() => idOf(groups.next('g', new Set()))).includes('a'));
});

test('a full target is passed over; where all are full the answer is busy', () => {
  const { groups, open } = build(1);
  groups.replace([group('g', [target('a'), target('b')])]);
  open.enter('a', { close: () => undefined });
  assert.deepEqual(
    [0, 1].map(() => idOf(groups.next('g', new Set()))),
    ['b', 'b'],
  );
  open.enter('b', { close: () => undefined });
  assert.equal(groups.next('g', new Set()), 'busy');
});

test('waiting ends in order with a target, with false after its time, and is bounded', async () => {
  const { groups, clock } = build();
  groups.replace([group('g', [], 'starting')]);
  const { signal } = new AbortController();
  const ended: string[] = [];
  const first = groups.wait('g', signal).then((again) => ended.push(`first ${String(again)}`));
  const second = groups.wait('g', signal).then((again) => ended.push(`second ${String(again)}`));
  assert.equal(await groups.wait('g', signal), false);
  groups.replace([group('g', [], 'starting')]);
  assert.equal(groups.waiting(), 2);
  groups.replace([group('g', [target('a')])]);
  await Promise.all([first, second]);
  assert.deepEqual(ended, ['first true', 'second true']);
  groups.replace([group('g', [], 'starting')]);
  const late = groups.wait('g', signal);
  await clock.advance(5_000);
  assert.equal(await late, false);
  assert.equal(groups.waiting(), 0);
});

test('a client that leaves, and a group that fails, end the wait', async () => {
  const { groups } = build();
  groups.replace([group('g', [], 'starting')]);
  const client = new AbortController();
  const left = groups.wait('g', client.signal);
  client.abort();
  assert.equal(await left, false);
  const failed = groups.wait('g', new AbortController().signal);
  groups.replace([group('g', [], 'down')]);
  assert.equal(await failed, true);
  assert.equal(groups.waiting(), 0);
});
