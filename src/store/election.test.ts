import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createFakeClock } from '../lib/clock.ts';
import type { FakeClock } from '../lib/clock.ts';
import { Failure, isFailure } from '../lib/failure.ts';
import { defineCollection } from './collection.ts';
import { ELECTION_TTL_MS, PULSE_KEY, standForElection } from './election.ts';
import type { Election } from './election.ts';
import { createMemoryStore } from './memory.ts';
import { put } from './records.ts';
import { scopedView } from './scoped-view.ts';
import type { Store } from './store.ts';
import { createView } from './view.ts';

const KEY = 'leaders/control';

interface Candidate {
  readonly election: Election;
  /** What happened to it, in order. */
  readonly told: string[];
  /** Fence of its term. */
  readonly fence: () => number;
}

function stand(store: Store, clock: FakeClock, name: string): Candidate {
  const told: string[] = [];
  let fence = 0;
  const election = standForElection({
    store,
    clock,
    key: KEY,
    value: name,
    isOwn: (value) => value === name,
    presence: [{ key: `here/${name}`, value: '' }],
    onTaken: (revision) => {
      fence = revision;
      told.push('leads');
    },
    onLost: (reason) => told.push(reason),
  });
  return { election, told, fence: () => fence };
}

/** The store as somebody sees it for whom it does not answer in time while `hangs()`. */
function hanging(store: Store, clock: FakeClock, hangs: () => boolean): Store {
  const late = async (): Promise<never> => {
    await clock.sleep(3_000);
    throw new Failure('unavailable', { message: 'The store does not answer.' });
  };
  return {
    ...store,
    commit: (transaction) => (hangs() ? late() : store.commit(transaction)),
    lease: async (options) => {
      const lease = await store.lease(options);
      return { ...lease, keepAlive: () => (hangs() ? late() : lease.keepAlive()) };
    },
  };
}

describe('an election', () => {
  test('has one leader, and another one at once when that one stops', async () => {
    const clock = createFakeClock();
    const store = createMemoryStore({ clock });
    const first = stand(store, clock, 'first');
    await first.election.settled();
    const second = stand(store, clock, 'second');
    await second.election.settled();
    await clock.advance(60_000);
    assert.deepEqual([first.told, second.told], [['leads'], []]);
    assert.equal((await store.get(KEY))?.value, 'first');
    assert.equal((await store.list({ prefix: 'here/' })).entries.length, 2);
    await first.election.stop();
    assert.deepEqual(
      (await store.list({ prefix: 'here/' })).entries.map(({ key }) => key),
      ['here/second'],
    );
    second.election.wake();
    await second.election.settled();
    assert.deepEqual([first.told, second.told], [['leads', 'it stops'], ['leads']]);
    await second.election.stop();
    await store.close();
  });

  test('goes to another one when the leader is silent for as long as its lease, and the old one knows it by then', async () => {
    const clock = createFakeClock();
    const store = createMemoryStore({ clock });
    let hangs = false;
    const first = stand(
      hanging(store, clock, () => hangs),
      clock,
      'first',
    );
    await first.election.settled();
    const second = stand(store, clock, 'second');
    hangs = true;
    await clock.advance(ELECTION_TTL_MS - 1_500);
    assert.deepEqual([first.told, second.told], [['leads'], []]);
    assert.ok(first.election.leads());
    await clock.advance(1_500);
    assert.ok(!first.election.leads(), 'before it has been told');
    await clock.advance(ELECTION_TTL_MS + 1_500);
    assert.deepEqual(first.told, ['leads', 'the store has not answered for as long as its lease lasts']);
    assert.deepEqual(second.told, ['leads']);
    hangs = false;
    await clock.advance(10_000);
    assert.equal((await store.get(KEY))?.value, 'second', 'who comes back stands by');
    await Promise.all([first.election.stop(), second.election.stop()]);
    await store.close();
  });

  test('lets a successor of the same machine take over without waiting', async () => {
    const clock = createFakeClock();
    const store = createMemoryStore({ clock });
    let hangs = false;
    const killed = stand(
      hanging(store, clock, () => hangs),
      clock,
      'first',
    );
    await killed.election.settled();
    hangs = true;
    const next = stand(store, clock, 'first');
    await next.election.settled();
    assert.deepEqual(next.told, ['leads']);
    assert.ok(next.fence() > killed.fence());
    await clock.advance(60_000);
    assert.deepEqual(next.told, ['leads'], 'the end of the old lease does not take the key along');
    await next.election.stop();
    await store.close();
  });

  test('is lost where the key is gone, and won anew', async () => {
    const clock = createFakeClock();
    const store = createMemoryStore({ clock });
    const { election, told } = stand(store, clock, 'first');
    await election.settled();
    await store.commit({ compare: [], writes: [{ kind: 'delete', key: KEY }] });
    await clock.advance(2_000);
    assert.deepEqual(told, ['leads', 'another one has taken over', 'leads']);
    await election.stop();
    await store.close();
  });

  test('makes a watcher hear something every second', async () => {
    const clock = createFakeClock();
    const store = createMemoryStore({ clock });
    const { election } = stand(store, clock, 'first');
    await election.settled();
    const before = (await store.get(PULSE_KEY))?.revision ?? 0;
    await clock.advance(5_000);
    assert.ok(((await store.get(PULSE_KEY))?.revision ?? 0) >= before + 4);
    await election.stop();
    await store.close();
  });
});

test('what is written in a term that is over is refused, whenever it comes, and tells its owner', async () => {
  const clock = createFakeClock();
  const store = createMemoryStore({ clock });
  const things = defineCollection<{ readonly id: string; readonly by: string }>({ name: 'things' });
  const leaders = defineCollection<{ readonly id: string }>({ name: 'leaders' });
  const running = createView({ store, collections: [things, leaders], clock });
  await running.start();
  const leaderOf = async (): Promise<number> => await running.view.commit(put(leaders, { id: 'control' }));
  const lost: string[] = [];
  const scopeOf = (name: string, revision: number) => scopedView(running.view, { key: KEY, revision, onLost: () => lost.push(name) });
  const old = scopeOf('old', await leaderOf());
  await old.view.commit(put(things, { id: 'a', by: 'old' }));
  const next = scopeOf('next', await leaderOf());
  await assert.rejects(
    old.view.commit(put(things, { id: 'a', by: 'old again' })),
    (error) => isFailure(error, 'unavailable') && error.details?.['moving'] === true,
  );
  await next.view.commit(put(things, { id: 'b', by: 'next' }));
  assert.deepEqual(
    running.view.list(things).map(({ document }) => document.by),
    ['old', 'next'],
  );
  assert.deepEqual(lost, ['old']);
  let heard = 0;
  next.view.onChange(() => {
    heard += 1;
  });
  next.close();
  await running.view.commit(put(things, { id: 'c', by: 'anybody' }));
  assert.equal(heard, 0);
  await running.stop();
  await store.close();
});
