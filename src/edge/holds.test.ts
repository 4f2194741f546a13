import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RouteGroup } from '../api/dataplane.ts';
import { createFakeClock, systemClock } from '../lib/clock.ts';
import { call, group, rule, startEdge, startInstance, text, until } from './edge-fixture.ts';
import { createHolds } from './holds.ts';

const never = new AbortController().signal;

test('who waits goes on in order when the pause ends, and with false when its time is over', async () => {
  const clock = createFakeClock();
  const holds = createHolds(clock);
  const paused = (forMs: number, max = 10): RouteGroup => ({ ...group('g', []), hold: { untilMs: clock.now() + forMs, max } });
  holds.change([paused(1000)], []);
  assert.deepEqual([holds.isHeld('g'), holds.isHeld('other')], [true, false]);
  const seen: string[] = [];
  const wait = (name: string, signal = never): Promise<void> => holds.wait('g', signal).then((flow) => void seen.push(`${name} ${flow}`));
  const gone = new AbortController();
  const first = [wait('a'), wait('gone', gone.signal), wait('b'), wait('c')];
  gone.abort();
  assert.equal(holds.waiting(), 3);
  holds.change([group('g', [])], []);
  await Promise.all(first);
  assert.deepEqual(seen, ['gone false', 'a true', 'b true', 'c true']);
  assert.equal(await holds.wait('g', never), true, 'nothing is held');

  holds.change([paused(1000)], []);
  const second = wait('d');
  await clock.advance(900);
  // A pause that is set anew takes along who waits already.
  holds.change([paused(1000)], []);
  await clock.advance(900);
  assert.equal(holds.waiting(), 1);
  await clock.advance(100);
  await second;
  assert.equal(seen.at(-1), 'd false');
  assert.equal(await holds.wait('g', never), false, 'its time is over');

  holds.change([paused(1000, 2)], []);
  const third = [wait('e'), wait('f')];
  assert.equal(await holds.wait('g', never), false, 'two wait already');
  holds.stop();
  await Promise.all(third);
  assert.deepEqual(seen.slice(-2), ['e false', 'f false']);
});

test('requests to a paused App wait, uploads and all, reach it in order, and get a page when it takes too long', async () => {
  const edge = await startEdge();
  const order: string[] = [];
  const app = await startInstance('i1', (request, response) => {
    order.push(request.url ?? '');
    text(response, 'ok');
  });
  try {
    const put = (untilMs: number | null, max = 100) =>
      edge.install({
        rules: [rule('app.localhost', 'app')],
        groups: [{ ...group('app', [app.target]), ...(untilMs === null ? {} : { hold: { untilMs, max } }) }],
      });
    await put(systemClock.now() + 60_000);
    const waiting: Promise<{ readonly status: number }>[] = [];
    for (let index = 0; index < 20; index += 1) {
      waiting.push(call(edge.port, 'app.localhost', `/${index}`, index % 2 === 0 ? {} : { method: 'POST', body: 'x'.repeat(100_000) }));
      await until('it waits', () => edge.edge.metrics().includes(`libra_edge_held_requests ${index + 1}\n`));
    }
    assert.equal(order.length, 0);
    await put(null);
    assert.ok((await Promise.all(waiting)).every((reply) => reply.status === 200));
    assert.deepEqual(
      order,
      Array.from({ length: 20 }, (_unused, index) => `/${index}`),
    );
    await put(systemClock.now() + 30);
    const late = await call(edge.port, 'app.localhost', '/late', { headers: { accept: 'application/json' } });
    assert.deepEqual([late.status, late.headers['retry-after'], /"code":"paused"|paused/u.test(String(late.body))], [503, '30', true]);
    await put(systemClock.now() + 60_000, 1);
    const one = call(edge.port, 'app.localhost', '/one');
    await until('it waits', () => edge.edge.metrics().includes('libra_edge_held_requests 1\n'));
    assert.equal((await call(edge.port, 'app.localhost', '/two')).status, 503, 'one more than may wait');
    await put(null);
    assert.equal((await one).status, 200);
    assert.ok(!order.includes('/late') && !order.includes('/two'));
  } finally {
    await edge.stop();
    await app.kill();
  }
});

test('what waited through a switch goes where it is due by then', async () => {
  const edge = await startEdge();
  const old = await startInstance('i1', (_request, response) => text(response, 'old'));
  const next = await startInstance('i2', (_request, response) => text(response, 'new'));
  try {
    const rules = [rule('app.localhost', 'app')];
    const before = { ...group('app', [old.target]), hold: { untilMs: systemClock.now() + 60_000, max: 10 } };
    await edge.install({ rules, groups: [before] });
    const waiting = call(edge.port, 'app.localhost', '/');
    await until('it waits', () => edge.edge.metrics().includes('libra_edge_held_requests 1\n'));
    const targets = [old.target, { ...next.target, deploymentId: 'd2' }];
    const split = { stableDeploymentId: 'd1', candidateDeploymentId: 'd2', percent: 100, rules: [], sticky: null };
    await edge.install({ rules, groups: [{ ...group('app', targets), split }] });
    assert.equal(String((await waiting).body), 'new');
  } finally {
    await edge.stop();
    await old.kill();
    await next.kill();
  }
});
