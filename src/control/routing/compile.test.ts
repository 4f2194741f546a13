import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RouteGroup } from '../../api/dataplane.ts';
import type { Deployment, Environment, InstanceSpec, InstanceStatus } from '../../model/documents.ts';
import type { EntrypointSpec, RouteSpec } from '../../model/manifest-types.ts';
import { DEFAULT_TRAFFIC } from '../../model/traffic-policy.ts';
import { aDeployment, anApp, anEntrypoint, anEnvironment, anInstance, aStatus } from '../test-context.ts';
import { compileEnvironment } from './compile.ts';
import type { EnvironmentInput } from './compile.ts';

const route = (host: string, path = '/', headers: Record<string, string> = {}): RouteSpec => ({ host, path, match: { headers } });

function input(
  instances: readonly { spec: InstanceSpec; status: InstanceStatus | null }[],
  change: Partial<EnvironmentInput> = {},
): EnvironmentInput {
  const deployment = aDeployment();
  return {
    app: anApp(),
    environment: anEnvironment(),
    domain: 'localhost',
    stable: deployment,
    candidate: null,
    instances: instances.map((one) => ({ ...one, deployment })),
    provides: {},
    callers: [],
    ...change,
  };
}

test('healthy Instances are active, draining ones keep their time, all others are absent', () => {
  const compiled = compileEnvironment(
    input([
      { spec: anInstance({ id: 'healthy' }), status: aStatus({ id: 'healthy' }) },
      { spec: anInstance({ id: 'draining', draining: true, drainingSinceMs: 1000 }), status: aStatus({ id: 'draining', healthy: false }) },
      { spec: anInstance({ id: 'sick' }), status: aStatus({ id: 'sick', healthy: false, phase: 'unhealthy' }) },
      { spec: anInstance({ id: 'stopping', desired: 'stop' }), status: aStatus({ id: 'stopping' }) },
      { spec: anInstance({ id: 'ended', draining: true, drainingSinceMs: 0 }), status: aStatus({ id: 'ended', phase: 'failed' }) },
      { spec: anInstance({ id: 'new' }), status: null },
    ]),
  );
  const [group] = compiled.groups;
  assert.deepEqual(
    group?.targets.map((target) => [target.instanceId, target.state, target.drainUntilMs]),
    [
      ['healthy', 'active', null],
      ['draining', 'draining', 11_000],
    ],
  );
  assert.equal(group?.state, 'serving');
  assert.deepEqual(compiled.rules, [{ host: 'shop.localhost', path: '/', headers: {}, group: 'environment-1/web' }]);
});

test('a group says why it serves nobody', () => {
  const state = (change: Partial<EnvironmentInput>, status: InstanceStatus | null | undefined): string | undefined =>
    compileEnvironment(input(status === undefined ? [] : [{ spec: anInstance(), status }], change)).groups[0]?.state;
  assert.equal(state({}, aStatus()), 'serving');
  assert.equal(state({}, null), 'starting');
  assert.equal(state({}, aStatus({ phase: 'starting', healthy: false })), 'starting');
  assert.equal(state({}, aStatus({ phase: 'starting', healthy: false, crashLoop: true })), 'down');
  assert.equal(state({}, aStatus({ phase: 'backoff', healthy: false })), 'down');
  assert.equal(state({}, undefined), 'down');
  assert.equal(state({ stable: null, candidate: aDeployment() }, undefined), 'starting');
  assert.equal(state({ environment: anEnvironment({ stopped: true }) }, aStatus()), 'stopped');
});

test('the policy and the health path of a group are those of the stable Deployment; the default policy is left out', () => {
  const traffic = { ...DEFAULT_TRAFFIC, balance: { kind: 'round-robin' } } as const;
  const groupOf = (stable: Partial<EntrypointSpec> | null, candidate: Partial<EntrypointSpec>): RouteGroup | undefined => {
    const deployment = (change: Partial<EntrypointSpec>, id: string): Deployment =>
      aDeployment({ id, entrypoints: { web: anEntrypoint(change) } });
    return compileEnvironment(
      input([], { stable: stable === null ? null : deployment(stable, 'd1'), candidate: deployment(candidate, 'd2') }),
    ).groups[0];
  };
  const probe = { ...anEntrypoint().health, probe: { kind: 'http', path: '/up' } } as const;
  assert.deepEqual(groupOf({}, { traffic, health: probe })?.policy, undefined);
  assert.deepEqual(groupOf({ traffic: DEFAULT_TRAFFIC }, {})?.policy, undefined);
  assert.deepEqual(groupOf({ traffic }, {})?.policy, traffic);
  assert.deepEqual(groupOf(null, { traffic })?.policy, traffic);
  assert.deepEqual([groupOf({ health: probe }, {})?.healthPath, groupOf({}, {})?.healthPath], ['/up', undefined]);
});

test('a stopped Environment keeps its rules and has no active target', () => {
  const compiled = compileEnvironment(
    input([{ spec: anInstance(), status: aStatus() }], { environment: anEnvironment({ stopped: true }) }),
  );
  assert.equal(compiled.rules.length, 1);
  assert.deepEqual(compiled.groups[0]?.targets, []);
});

test('rules follow the stable Deployment, groups also the candidate, so that new targets are in force before rules point at them', () => {
  const candidate = aDeployment({
    id: 'deployment-2',
    entrypoints: {
      web: anEntrypoint({ routes: [route('new.example')] }),
      api: anEntrypoint({ name: 'api', routes: [route('api.example')] }),
    },
  });
  const during = compileEnvironment(input([], { candidate }));
  assert.deepEqual(
    during.rules.map((rule) => rule.host),
    ['shop.localhost'],
  );
  assert.deepEqual(
    during.groups.map((group) => group.entrypoint),
    ['api', 'web'],
  );
  const first = compileEnvironment(input([], { stable: null, candidate }));
  assert.deepEqual(
    first.rules.map((rule) => rule.host),
    ['new.example', 'api.example'],
  );
});

test('what does not listen has neither rules nor groups, and a deleted Environment has nothing', () => {
  const worker = aDeployment({
    entrypoints: { worker: anEntrypoint({ name: 'worker', listens: false }), nightly: anEntrypoint({ name: 'nightly', run: 'schedule' }) },
  });
  assert.deepEqual(compileEnvironment(input([], { stable: worker })).groups, []);
  const deleting = compileEnvironment(
    input([{ spec: anInstance(), status: aStatus() }], { environment: anEnvironment({ state: 'deleting' }) }),
  );
  assert.deepEqual([deleting.rules, deleting.groups], [[], []]);
});

test('what an Entrypoint that is no more still answers has its drain, and no rule', () => {
  const before = aDeployment({ id: 'before', entrypoints: { old: anEntrypoint({ name: 'old' }) } });
  const instance = anInstance({ entrypoint: 'old', deploymentId: 'before', draining: true, drainingSinceMs: 1000 });
  const compiled = compileEnvironment(input([], { instances: [{ spec: instance, status: aStatus(), deployment: before }] }));
  assert.deepEqual(
    compiled.groups.map((group) => [group.entrypoint, group.targets.map((target) => target.state)]),
    [
      ['old', ['draining']],
      ['web', []],
    ],
  );
  assert.deepEqual(
    compiled.rules.map((rule) => rule.group),
    ['environment-1/web'],
  );
});

test('a split reaches the Edge where there is anything to share, and holds back what is on neither side', () => {
  const split = { deploymentId: 'canary', percent: 10, rules: [], sticky: null };
  const of = (ids: readonly string[], change: Partial<Environment>) =>
    compileEnvironment(
      input(
        ids.map((deploymentId) => ({ spec: anInstance({ id: `i-${deploymentId}`, deploymentId }), status: aStatus() })),
        { environment: anEnvironment({ split, ...change }) },
      ),
    ).groups[0]?.split;
  const inForce = { percent: 10, rules: [], sticky: null, candidateDeploymentId: 'canary', stableDeploymentId: 'deployment-1' };
  assert.deepEqual(of(['deployment-1', 'canary'], { candidateDeploymentId: 'canary' }), inForce);
  assert.deepEqual(of(['deployment-1', 'kept'], { candidateDeploymentId: 'canary' }), inForce, 'one that is only kept gets nothing');
  assert.equal(of(['deployment-1'], { candidateDeploymentId: 'canary' }), undefined);
  assert.deepEqual(of(['deployment-1', 'canary'], { candidateDeploymentId: 'newer' }), { ...inForce, stableDeploymentId: null });
  assert.equal(of(['deployment-1', 'newer'], { candidateDeploymentId: 'newer' }), undefined);
  assert.equal(of(['deployment-1', 'canary'], { split: null }), undefined);
});

test('a pause reaches every Entrypoint, but for a stopped Environment', () => {
  const of = (change: Partial<Environment>) => compileEnvironment(input([], { environment: anEnvironment(change) })).groups[0]?.hold;
  const hold = { sinceMs: 1000, maxMs: 500 };
  assert.deepEqual(of({ hold }), { untilMs: 1500, max: 1000 });
  assert.equal(of({ hold, stopped: true }), undefined);
  assert.equal(of({ hold: null }), undefined);
});

test('what is provided and who may call make a party; without both there is none', () => {
  assert.equal(compileEnvironment(input([])).party, null);
  const provides = { orders: { entrypoint: 'web', path: '/api', allow: ['shop'] }, gone: { entrypoint: 'other', path: '/', allow: [] } };
  const callers = [
    { instanceId: 'i1', nodeId: 'n1', uses: ['a.b'] },
    { instanceId: 'i2', nodeId: 'n2', uses: ['a.b'] },
    { instanceId: 'i3', nodeId: 'n1', uses: ['a.c'] },
  ];
  const { party } = compileEnvironment(input([], { provides, callers }));
  const environment = anEnvironment();
  assert.deepEqual(party, {
    id: environment.id,
    app: anApp().name,
    environment: environment.name,
    provides: { orders: { group: `${environment.id}/web`, path: '/api', allow: ['shop'] } },
    callers: [
      { uses: ['a.b'], instances: { i1: 'n1', i2: 'n2' } },
      { uses: ['a.c'], instances: { i3: 'n1' } },
    ],
  });
});
