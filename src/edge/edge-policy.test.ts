// What the traffic policy of a group does to requests: where they go, what is tried again, what one App may have open.

import assert from 'node:assert/strict';
import type http from 'node:http';
import { after, before, test } from 'node:test';
import type { RouteGroup } from '../api/dataplane.ts';
import { DEFAULT_TRAFFIC } from '../model/traffic-policy.ts';
import type { TrafficPolicy } from '../model/traffic-policy.ts';
import { call, group, read, rule, startEdge, startInstance, text, until } from './edge-fixture.ts';
import type { TestEdge, TestInstance } from './edge-fixture.ts';

const HOST = 'app.localhost';
let edge: TestEdge;
const instances: TestInstance[] = [];

before(async () => {
  edge = await startEdge({ limits: { responseTimeoutMs: 4_000, openPerGroup: 6 } });
});
after(async () => {
  await edge.stop();
  for (const each of instances) await each.kill();
});

async function instance(listener: http.RequestListener): Promise<TestInstance> {
  const made = await startInstance(`i${instances.length}`, listener);
  instances.push(made);
  return made;
}

function appOf(policy: Partial<TrafficPolicy>, ...targets: readonly TestInstance[]): RouteGroup {
  return {
    ...group(
      'app',
      targets.map((each) => each.target),
    ),
    policy: { ...DEFAULT_TRAFFIC, slowStartMs: 0, ...policy },
  };
}

const serve = (app: RouteGroup): Promise<void> => edge.install({ rules: [rule(HOST, 'app')], groups: [app] });
const named =
  (name: string): http.RequestListener =>
  (_request, response) =>
    text(response, name);
const retries = (change: Partial<TrafficPolicy['retries']>): Partial<TrafficPolicy> => ({
  balance: { kind: 'round-robin' },
  eject: null,
  retries: { ...DEFAULT_TRAFFIC.retries, ...change },
});

test('a sticky client stays with its Instance, and gets another one and another cookie when that goes', async () => {
  const [a, b, c] = [await instance(named('a')), await instance(named('b')), await instance(named('c'))];
  const byName = new Map(Object.entries({ a, b, c }));
  const policy = { balance: { kind: 'sticky', cookie: 'pin' } } as const;
  await serve(appOf(policy, a, b, c));
  const first = await call(edge.port, HOST, '/');
  const cookie = first.headers['set-cookie']?.[0] ?? '';
  assert.match(cookie, /^pin=[\w-]{22}; Path=\/; HttpOnly; SameSite=Lax$/u);
  const headers = { cookie: `other=1; ${cookie.split(';')[0]}` };
  for (let round = 0; round < 10; round += 1) {
    const again = await call(edge.port, HOST, '/', { headers });
    assert.equal(String(again.body), String(first.body));
    assert.equal(again.headers['set-cookie'], undefined);
  }
  const left = [...byName].filter(([name]) => name !== String(first.body)).map(([, each]) => each);
  await serve(appOf(policy, ...left));
  const moved = await call(edge.port, HOST, '/', { headers });
  assert.notEqual(String(moved.body), String(first.body));
  assert.notEqual(moved.headers['set-cookie']?.[0], cookie);
});

test('a header keeps its Instance, whoever else comes', async () => {
  const [a, b] = [await instance(named('a')), await instance(named('b'))];
  await serve(appOf({ balance: { kind: 'hash', by: { kind: 'header', name: 'x-tenant' } } }, a, b));
  const ask = async (tenant: string): Promise<string> =>
    String((await call(edge.port, HOST, '/', { headers: { 'X-Tenant': tenant } })).body);
  const seen = new Map<string, string>();
  for (let round = 0; round < 3; round += 1) {
    for (let tenant = 0; tenant < 12; tenant += 1) {
      const body = await ask(`t${tenant}`);
      assert.equal(seen.get(`t${tenant}`) ?? body, body);
      seen.set(`t${tenant}`, body);
    }
  }
  assert.equal(new Set(seen.values()).size, 2);
});

test('a GET that waits too long for one Instance is answered by another; a POST is not sent twice, and a single Instance has all the time', async () => {
  let posts = 0;
  const slow: http.RequestListener = (request, response) => {
    if (request.method === 'POST') posts += 1;
    setTimeout(() => text(response, 'slow'), 2_600).unref();
  };
  const [a, b] = [await instance(slow), await instance(named('fast'))];
  await serve(appOf(retries({ perTryMs: 1_000 }), a, b));
  const [one, two] = await Promise.all([call(edge.port, HOST, '/'), call(edge.port, HOST, '/')]);
  assert.deepEqual([String(one.body), String(two.body)], ['fast', 'fast']);
  const both = await Promise.all([1, 2].map(() => call(edge.port, HOST, '/', { method: 'POST', body: 'pay' })));
  assert.deepEqual(both.map((reply) => String(reply.body)).sort(), ['fast', 'slow']);
  assert.equal(posts, 1);
  await serve(appOf(retries({ perTryMs: 1_000 }), a));
  assert.equal(String((await call(edge.port, HOST, '/')).body), 'slow');
});

test('a POST that met a reset is repeated only where the policy says that it may be', async () => {
  let hits = 0;
  const breaks: http.RequestListener = (request) => {
    hits += 1;
    request.socket.resetAndDestroy();
  };
  const works: http.RequestListener = (request, response) => void read(request).then((body) => text(response, String(body)));
  const [a, b] = [await instance(breaks), await instance(works)];
  const statuses = async (change: Partial<TrafficPolicy['retries']>, method: string): Promise<number[]> => {
    await serve(appOf(retries(change), a, b));
    const found: number[] = [];
    for (let round = 0; round < 4; round += 1) {
      const body = method === 'POST' ? { body: 'pay' } : {};
      found.push((await call(edge.port, HOST, '/', { method, ...body })).status);
    }
    return found.sort((left, right) => left - right);
  };
  assert.deepEqual(await statuses({}, 'POST'), [200, 200, 502, 502]);
  assert.deepEqual(await statuses({ unsafe: true }, 'POST'), [200, 200, 200, 200]);
  assert.deepEqual(await statuses({}, 'GET'), [200, 200, 200, 200]);
  assert.deepEqual(await statuses({ attempts: 1 }, 'GET'), [200, 200, 502, 502]);
  assert.ok(hits >= 8);
});

test('when the budget is used up a failure is passed on instead of tried again', async () => {
  let hits = 0;
  const breaks: http.RequestListener = (request) => {
    hits += 1;
    request.socket.resetAndDestroy();
  };
  const app = appOf(retries({ budgetPercent: 0 }), await instance(breaks), await instance(breaks));
  // A budget is of a group, and this one is new.
  await edge.install({ rules: [rule(HOST, 'fresh')], groups: [{ ...app, id: 'fresh' }] });
  const REQUESTS = 300;
  for (let round = 0; round < REQUESTS; round += 1) await call(edge.port, HOST, '/');
  // The floor of a hundred in ten seconds, with the seconds that this took.
  assert.ok(hits >= REQUESTS + 100 && hits < REQUESTS + 200, `${hits} tries of ${REQUESTS} requests`);
});

test('an App has only so much open, whatever its Instances would take; others are served', async () => {
  const held: http.ServerResponse[] = [];
  const hanging = await instance((_request, response) => void held.push(response));
  const limited = await instance((_request, response) => void held.push(response));
  const other = await instance(named('other'));
  await edge.install({
    rules: [rule(HOST, 'app'), rule('other.localhost', 'other')],
    groups: [appOf({}, hanging, limited), group('other', [other.target])],
  });
  const six = Array.from({ length: 6 }, () => call(edge.port, HOST, '/'));
  await until('six are open', () => held.length === 6);
  assert.equal((await call(edge.port, HOST, '/')).status, 503);
  assert.equal((await call(edge.port, 'other.localhost', '/')).status, 200);
  await edge.put(appOf({ maxPending: 3 }, hanging, limited));
  for (const response of held.splice(0)) text(response, 'ok');
  await Promise.all(six);
  const again = Array.from({ length: 6 }, () => call(edge.port, HOST, '/'));
  await until('three are open on each', () => held.length === 6);
  for (const response of held) text(response, 'ok');
  for (const reply of await Promise.all(again)) assert.equal(reply.status, 200);
});

test('an Instance that failed three times gets nothing before its health check says that it is well', async () => {
  let broken = true;
  let checks = 0;
  let served = 0;
  const flaky: http.RequestListener = (request, response) => {
    if (request.url === '/healthz') {
      checks += 1;
      return text(response, '', broken ? 503 : 200);
    }
    served += 1;
    if (broken) request.socket.resetAndDestroy();
    else text(response, 'back');
  };
  const { eject } = DEFAULT_TRAFFIC;
  assert.ok(eject !== null);
  const policy = { balance: { kind: 'round-robin' }, eject: { ...eject, firstMs: 100 } } as const;
  const app = appOf(policy, await instance(flaky), await instance(named('well')));
  await serve({ ...app, healthPath: '/healthz' });
  for (let round = 0; round < 10; round += 1) assert.equal((await call(edge.port, HOST, '/')).status, 200);
  assert.equal(served, 3);
  await until('it was looked at', () => checks >= 2);
  for (let round = 0; round < 10; round += 1) assert.equal(String((await call(edge.port, HOST, '/')).body), 'well');
  assert.equal(served, 3);
  broken = false;
  await until('it is back', () => /^libra_edge_ejected_targets 0$/mu.test(edge.edge.metrics()));
  const bodies = new Set<string>();
  for (let round = 0; round < 4; round += 1) bodies.add(String((await call(edge.port, HOST, '/')).body));
  assert.deepEqual(bodies, new Set(['back', 'well']));
});
