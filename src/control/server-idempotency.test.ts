import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeClock, systemClock } from '../lib/clock.ts';
import { isFailure } from '../lib/failure.ts';
import { systemRandom } from '../lib/id.ts';
import { createMemoryStore } from '../store/memory.ts';
import { createFixture } from './server-fixture.ts';
import type { Fixture } from './server-fixture.ts';
import { createIdempotencyStore, IDEMPOTENCY_TTL_MS } from './server-idempotency.ts';

async function create(
  { server }: Fixture,
  key: string,
  name = 'x',
): Promise<{ readonly status: number; readonly body: string; readonly replayed: boolean }> {
  const headers = { authorization: 'Bearer root', 'idempotency-key': key };
  const reply = await server.inject({ method: 'POST', url: '/v1/items', headers, payload: { name } });
  return { status: reply.statusCode, body: reply.body, replayed: reply.headers['idempotency-replayed'] === 'true' };
}

test('a repeat gets the first reply and has no second effect', async () => {
  const fixture = createFixture();
  const first = await create(fixture, 'k1');
  const second = await create(fixture, 'k1');
  assert.deepEqual([first.status, first.replayed, second.replayed], [201, false, true]);
  assert.equal(second.body, first.body);
  assert.equal(fixture.state.made.length, 1);
  await create(fixture, 'k2');
  assert.equal(fixture.state.made.length, 2);
});

test('another request under the same key is refused', async () => {
  const fixture = createFixture();
  await create(fixture, 'k1', 'x');
  const other = await create(fixture, 'k1', 'y');
  assert.equal(other.status, 422);
  assert.match(other.body, /idempotency_mismatch/u);
});

test('a repeat while the first is at work is told to come again', async () => {
  const fixture = createFixture();
  let release = (): void => undefined;
  let entered = (): void => undefined;
  const inside = new Promise<void>((resolve) => (entered = resolve));
  fixture.state.beforeCreate = () => {
    entered();
    return new Promise((resolve) => (release = resolve));
  };
  const first = create(fixture, 'k1');
  await inside;
  const second = await create(fixture, 'k1');
  assert.equal(second.status, 409);
  assert.match(second.body, /"inFlight":true/u);
  release();
  assert.equal((await first).status, 201);
  assert.equal((await create(fixture, 'k1')).replayed, true);
});

test('after a kill between effect and reply the repeat gets the same record id', async () => {
  const store = createMemoryStore({ clock: systemClock });
  const killed = createFixture({ store });
  // It has its effect and is never heard of again.
  const effect = new Promise<void>((resolve) => {
    killed.state.beforeCreate = (call) => {
      killed.state.made.push(call.recordId ?? 'none');
      resolve();
      return new Promise(() => undefined);
    };
  });
  void create(killed, 'k1');
  await effect;
  const next = createFixture({ store });
  const repeat = await create(next, 'k1');
  assert.equal(repeat.status, 201);
  assert.deepEqual(next.state.made, killed.state.made);
  assert.equal((await create(createFixture({ store }), 'k1')).body, repeat.body);
});

test('a failed request may be tried again under its key, with the same record id', async () => {
  const fixture = createFixture();
  const ids: (string | undefined)[] = [];
  fixture.state.beforeCreate = async ({ recordId }) => {
    ids.push(recordId);
    if (ids.length === 1) throw new Error('once');
  };
  assert.equal((await create(fixture, 'k1')).status, 500);
  assert.equal((await create(fixture, 'k1')).status, 201);
  assert.equal(ids[0], ids[1]);
});

test('keys of different principals are different keys', async () => {
  const store = createMemoryStore({ clock: systemClock });
  const keys = createIdempotencyStore({ store, clock: systemClock, random: systemRandom });
  const one = await keys.begin('owner/a', 'k', 'hash');
  const two = await keys.begin('owner/b', 'k', 'hash');
  assert.ok(one.state === 'run' && two.state === 'run');
  assert.notEqual(one.recordId, two.recordId);
});

test('neither key nor request stands in the store', async () => {
  const fixture = createFixture();
  await create(fixture, 'key-of-a-client', 'hidden-name');
  const { entries } = await fixture.store.list({ prefix: '' });
  assert.ok(entries.length > 0);
  assert.doesNotMatch(JSON.stringify(entries), /key-of-a-client|hidden-name/u);
});

test('a reply that is too large to keep is not carried out twice', async () => {
  const keys = createIdempotencyStore({ store: createMemoryStore({ clock: systemClock }), clock: systemClock, random: systemRandom });
  const begun = await keys.begin('owner/a', 'k', 'hash');
  assert.ok(begun.state === 'run');
  await begun.finish({ status: 200, body: 'x'.repeat(300_000) });
  await assert.rejects(keys.begin('owner/a', 'k', 'hash'), (error) => isFailure(error, 'exists'));
});

test('a lease that expired while the machine slept is replaced', async () => {
  const storeClock = createFakeClock();
  const store = createMemoryStore({ clock: storeClock });
  const keys = createIdempotencyStore({ store, clock: createFakeClock(), random: systemRandom });
  await keys.begin('owner/a', 'k1', 'hash');
  await storeClock.advance(2 * IDEMPOTENCY_TTL_MS);
  assert.equal((await keys.begin('owner/a', 'k2', 'hash')).state, 'run');
});

test('keys are remembered for a day and forgotten after', async () => {
  const clock = createFakeClock();
  const store = createMemoryStore({ clock });
  const keys = createIdempotencyStore({ store, clock, random: systemRandom });
  const begun = await keys.begin('owner/a', 'k', 'hash');
  assert.ok(begun.state === 'run');
  await begun.finish({ status: 200, body: null });
  await clock.advance(IDEMPOTENCY_TTL_MS - 1000);
  assert.equal((await keys.begin('owner/a', 'k', 'hash')).state, 'replay');
  await clock.advance(3 * 3600_000);
  assert.equal((await keys.begin('owner/a', 'k', 'hash')).state, 'run');
});

test('a repeat of a call whose reply told a secret says why it is not told again', async () => {
  const store = createMemoryStore({ clock: systemClock });
  const idempotency = createIdempotencyStore({ store, clock: systemClock, random: systemRandom });
  const begun = await idempotency.begin('person', 'k', 'hash');
  assert.ok(begun.state === 'run');
  await begun.finish('secret');
  await assert.rejects(idempotency.begin('person', 'k', 'hash'), (error) => isFailure(error, 'exists') && /only once/u.test(error.message));
});
