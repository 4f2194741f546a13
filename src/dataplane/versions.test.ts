// The split as it is carried out by the groups of the Edge: who is asked, in which order, and what nobody is ever sent to.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RouteSplit, RouteTarget } from '../api/dataplane.ts';
import { createSeededRandom } from '../lib/id.ts';
import { call, group, rule, startEdge, startInstance, text, until } from '../edge/edge-fixture.ts';
import { createVersions, inOrder, sidesOf } from './versions.ts';

const target = (instanceId: string, deploymentId: string): RouteTarget => ({
  instanceId,
  deploymentId,
  nodeId: 'n',
  host: '127.0.0.1',
  port: 1,
  state: 'active',
  drainUntilMs: null,
});
const split = (change: Partial<RouteSplit> = {}): RouteSplit => ({
  stableDeploymentId: 'stable',
  candidateDeploymentId: 'canary',
  percent: 50,
  rules: [],
  sticky: null,
  ...change,
});
const targets = [target('s1', 'stable'), target('c1', 'canary'), target('x1', 'another')];
const asked = (given: RouteSplit, candidate: boolean): string[] =>
  inOrder(
    given,
    sidesOf(given, targets, (one) => one.instanceId),
    candidate,
  ).map((side) => side.join(' '));

test('the other version is asked only where it has a share, and a third one never', () => {
  assert.deepEqual(asked(split(), true), ['c1', 's1']);
  assert.deepEqual(asked(split(), false), ['s1', 'c1']);
  assert.deepEqual(asked(split({ percent: 0 }), false), ['s1']);
  assert.deepEqual(asked(split({ stableDeploymentId: null, percent: 0 }), false), ['s1 x1'], 'what leaves is set apart from all others');
});

test('a request keeps its choice for all its tries, unless there is another candidate', () => {
  const versions = createVersions(createSeededRandom(3));
  const choices = Array.from({ length: 200 }, () => {
    const version = versions.of({ address: '10.0.0.1', secure: false, header: () => undefined });
    const first = version.isCandidate(split());
    for (let again = 0; again < 5; again += 1) assert.equal(version.isCandidate(split()), first);
    assert.equal(version.setCookie(), null);
    return first;
  });
  assert.ok(choices.includes(true) && choices.includes(false));
});

test('the cookie of a user who came over TLS stays there', () => {
  const cookie = (secure: boolean): string | null => {
    const version = createVersions().of({ address: '10.0.0.1', secure, header: () => undefined });
    version.isCandidate(split({ sticky: { kind: 'cookie', name: null } }));
    return version.setCookie();
  };
  assert.match(cookie(true) ?? '', /^libra_user=[0-9a-f]{24}; Path=\/; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure$/u);
  assert.doesNotMatch(cookie(false) ?? '', /Secure/u);
});

test('a user without a name gets the cookie with the answer, and sees the same version from then on', async () => {
  const edge = await startEdge();
  const one = await startInstance('i1', (_request, response) => text(response, 'stable'));
  const two = await startInstance('i2', (_request, response) => text(response, 'canary'));
  try {
    const sides = [
      { ...one.target, deploymentId: 'stable' },
      { ...two.target, deploymentId: 'canary' },
    ];
    const put = (given: RouteSplit) =>
      edge.install({ rules: [rule('app.localhost', 'app')], groups: [{ ...group('app', sides), split: given }] });
    await put(split({ sticky: { kind: 'cookie', name: null } }));
    const seen = new Set<string>();
    for (let user = 0; user < 30; user += 1) {
      const first = await call(edge.port, 'app.localhost', '/');
      const cookie = first.headers['set-cookie']?.[0]?.split(';')[0] ?? '';
      seen.add(String(first.body));
      for (let again = 0; again < 3; again += 1) {
        const next = await call(edge.port, 'app.localhost', '/', { headers: { cookie } });
        assert.deepEqual([String(next.body), next.headers['set-cookie']], [String(first.body), undefined]);
      }
    }
    assert.deepEqual([...seen].sort(), ['canary', 'stable']);
    await put(split({ percent: 0, rules: [{ kind: 'header', name: 'x-beta', value: '1' }] }));
    assert.equal(String((await call(edge.port, 'app.localhost', '/')).body), 'stable');
    assert.equal(String((await call(edge.port, 'app.localhost', '/', { headers: { 'X-Beta': '1' } })).body), 'canary');
    // The canary is gone before anybody noticed: its requests are answered by the other version.
    await put(split({ percent: 100 }));
    await two.kill();
    assert.equal(String((await call(edge.port, 'app.localhost', '/')).body), 'stable');
  } finally {
    await edge.stop();
    await one.kill();
    await two.kill();
  }
});

test('what each version did is counted where a split is in force: answers, failures, tries that failed, and how long it took', async () => {
  const edge = await startEdge();
  const one = await startInstance('i1', (_request, response) => text(response, 'stable'));
  const two = await startInstance('i2', (request, response) => {
    if (request.url === '/cut') request.socket.resetAndDestroy();
    else text(response, 'canary', request.url === '/bad' ? 503 : 404);
  });
  try {
    const sides = [
      { ...one.target, deploymentId: 'stable' },
      { ...two.target, deploymentId: 'canary' },
    ];
    const rules = [{ kind: 'header', name: 'x-beta', value: null }] as const;
    const given = { ...group('app', sides), split: split({ percent: 0, rules }) };
    await edge.install({ rules: [rule('app.localhost', 'app')], groups: [group('app', sides)] });
    await call(edge.port, 'app.localhost', '/');
    assert.equal(edge.link.reports.at(-1)?.versions, undefined, 'nothing is counted without a split');
    await edge.install({ rules: [rule('app.localhost', 'app')], groups: [given] });
    const headers = { 'x-beta': '' };
    for (let index = 0; index < 3; index += 1) await call(edge.port, 'app.localhost', '/');
    await call(edge.port, 'app.localhost', '/', { headers });
    await call(edge.port, 'app.localhost', '/bad', { headers });
    // Its try failed, then the other version answered.
    assert.equal(String((await call(edge.port, 'app.localhost', '/cut', { headers })).body), 'stable');
    await until('it is reported', () => {
      const versions = edge.link.reports.at(-1)?.versions ?? [];
      const of = (id: string) => versions.find((version) => version.deploymentId === id);
      return of('stable')?.requests === 4 && of('canary')?.requests === 3 && of('canary')?.errors === 2 && of('stable')?.errors === 0;
    });
    const canary = edge.link.reports.at(-1)?.versions?.find((version) => version.deploymentId === 'canary');
    assert.equal(
      canary?.latencies.reduce((sum, count) => sum + count, 0),
      2,
      'two answers were timed',
    );
    await edge.put({ ...group('app', sides) });
    await until('nothing is counted any more', () => edge.link.reports.at(-1)?.versions === undefined);
  } finally {
    await edge.stop();
    await one.kill();
    await two.kill();
  }
});
