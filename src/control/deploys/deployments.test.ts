// Deployments through their handlers: made in one commit, guarded by the plan, followed, superseded, canceled, rolled back.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Failure, isFailure } from '../../lib/failure.ts';
import { callOf } from '../test-context.ts';
import { createPlatform, letBindCores, setScheduling, WHERE } from './deploys-fixture.ts';
import type { Platform } from './deploys-fixture.ts';
import type { DeploymentReply } from './replies.ts';

const MANIFEST = `
app: shop
entrypoints:
  web: { command: node server.js, instances: 2 }
`;

let platform: Platform;
beforeEach(async () => {
  platform = await createPlatform();
});
afterEach(() => platform.close());

const live = (): string[] =>
  platform
    .instances()
    .filter(({ spec, status }) => spec.desired === 'run' && status?.phase === 'running')
    .map(({ spec }) => `${spec.entrypoint}/${spec.slot}`)
    .sort();

const plan = (manifest: string, environment = 'production') =>
  platform.deploys.plans.create(
    callOf({ params: {}, query: undefined, body: { manifest, environment, app: null, release: null, reset: false, canary: null } }),
  );

test('the first Deployment makes App and Environment, starts every slot and succeeds', async () => {
  const before = await plan(MANIFEST);
  assert.deepEqual(before.creates, ['App shop', 'Environment production']);
  assert.deepEqual(
    before.rollouts.map((one) => [one.entrypoint, one.instances, one.order, one.nodes]),
    [['web', 2, 'start-first', ['laptop']]],
  );
  assert.deepEqual(before.refusals, []);
  const number = await platform.deploy(MANIFEST);
  await platform.settle();
  const done = await platform.deployment(number);
  assert.equal(done.phase, 'succeeded');
  assert.equal(done.stable, true);
  assert.deepEqual(
    done.steps.map((step) => [step.name, step.state]),
    [
      ['build', 'skipped'],
      ['before-deploy', 'skipped'],
      ['start', 'done'],
      ['drain', 'done'],
    ],
  );
  assert.deepEqual(live(), ['web/0', 'web/1']);
  assert.deepEqual((await plan(MANIFEST)).changes, [], 'drift of nothing');
});

test('numbers of Releases have no gaps although several are made at once', async () => {
  const numbers = await Promise.all([1, 2, 3, 4].map(() => platform.deploy(MANIFEST).catch(() => 0)));
  assert.equal(numbers.length, 4);
  const { items } = await platform.apps.releases.list(callOf({ params: { app: 'shop' }, query: { limit: 100 }, body: undefined }));
  assert.deepEqual(
    items.map((one) => one.number),
    [4, 3, 2, 1],
  );
});

test('a program that keeps ending takes the Deployment back with its reason, and the old one serves in full', async () => {
  await platform.deploy(MANIFEST);
  await platform.settle();
  const reason = { code: 'missing_variable' as const, message: 'DB is missing.', hint: null, lastLines: ['KeyError'], instanceId: null };
  platform.agent = (spec) =>
    spec.deploymentId === bad.id ? { phase: 'backoff', healthy: false, crashLoop: true, reason } : { phase: 'running', healthy: true };
  const bad = await platform.deployment(await platform.deploy(MANIFEST.replace('server.js', 'broken.js')));
  await platform.settle();
  const failed = await platform.deployment(2);
  assert.equal(failed.phase, 'failed');
  assert.deepEqual([failed.reason?.code, failed.reason?.lastLines], ['missing_variable', ['KeyError']]);
  assert.deepEqual(failed.steps.map((step) => [step.name, step.state]).slice(2), [
    ['start', 'failed'],
    ['drain', 'skipped'],
    ['return', 'done'],
  ]);
  assert.deepEqual(live(), ['web/0', 'web/1']);
  assert.equal((await platform.deployment(1)).stable, true);
});

test('what never becomes healthy is taken back at the deadline, with the best cause that is known', async () => {
  platform.agent = () => ({ phase: 'starting', healthy: false });
  await platform.deploy(MANIFEST.replace('instances: 2', 'rollout: { deadline: 30s }'));
  await platform.settle();
  assert.equal((await platform.deployment(1)).phase, 'rolling');
  await platform.context.clock.advance(31_000);
  await platform.settle();
  const failed = await platform.deployment(1);
  assert.deepEqual([failed.phase, failed.reason?.code], ['failed', 'deadline']);
  assert.deepEqual(live(), []);
});

test('a newer Deployment supersedes visibly', async () => {
  await platform.deploy(MANIFEST);
  await platform.settle();
  platform.agent = (spec) =>
    spec.deploymentId === second.id ? { phase: 'starting', healthy: false } : { phase: 'running', healthy: true };
  const second = await platform.deployment(await platform.deploy(MANIFEST));
  await platform.pass('rollout');
  await platform.deploy(MANIFEST);
  const superseded = await platform.deployment(2);
  assert.deepEqual([superseded.phase, superseded.reason?.code], ['superseded', 'superseded']);
  await platform.settle();
  assert.equal((await platform.deployment(3)).phase, 'succeeded');
  assert.deepEqual(live(), ['web/0', 'web/1']);
});

test('many at once all get in, one after the other, and the last one stays', async () => {
  await platform.deploy(MANIFEST);
  await platform.settle();
  const made = await Promise.all(Array.from({ length: 8 }, () => platform.create({ cause: 'restart' })));
  assert.deepEqual(
    made.map((one) => one.number).sort((a, b) => a - b),
    [2, 3, 4, 5, 6, 7, 8, 9],
  );
  await platform.settle();
  assert.deepEqual(await Promise.all([8, 9].map(async (number) => (await platform.deployment(number)).phase)), ['superseded', 'succeeded']);
});

test('a canceled Deployment is taken back, one that has ended cannot be', async () => {
  await platform.deploy(MANIFEST);
  await platform.settle();
  platform.agent = (spec) => (spec.deploymentId === second.id ? null : { phase: 'running', healthy: true });
  const second = await platform.deployment(await platform.deploy(MANIFEST));
  await platform.pass('rollout');
  const cancel = (number: number) =>
    platform.deploys.deployments.cancel(callOf({ params: { ...WHERE, deployment: String(number) }, query: undefined, body: undefined }));
  await cancel(2);
  await platform.settle();
  assert.equal((await platform.deployment(2)).phase, 'canceled');
  assert.deepEqual(live(), ['web/0', 'web/1']);
  await assert.rejects(cancel(1), (error: unknown) => isFailure(error, 'conflict'));
});

test('before-deploy programs run once each, in order, and an unknown end fails the Deployment and is never run again', async () => {
  const manifest = `${MANIFEST}  first: { command: a, run: before-deploy }\n  second: { command: b, run: before-deploy }\n`;
  const started: string[] = [];
  platform.agent = (spec) => {
    if (spec.role === 'service') return { phase: 'running', healthy: true };
    started.push(spec.entrypoint);
    return spec.entrypoint === 'second' && started.length > 2
      ? { phase: 'unknown', healthy: false }
      : { phase: 'succeeded', healthy: false };
  };
  await platform.deploy(manifest);
  await platform.settle();
  assert.deepEqual(started, ['first', 'second']);
  assert.equal((await platform.deployment(1)).phase, 'succeeded');
  await platform.deploy(manifest);
  await platform.settle();
  const failed = await platform.deployment(2);
  assert.deepEqual([failed.phase, failed.reason?.code], ['failed', 'outcome_unknown']);
  assert.deepEqual(started, ['first', 'second', 'first', 'second']);
  assert.equal((await platform.deployment(1)).stable, true);
});

test('a rollback brings back the snapshot with its values, and is refused where one is gone', async () => {
  await platform.apps.apps.create(callOf({ params: {}, query: undefined, body: { name: 'shop', gitUrl: null } }));
  const withSecret = `${MANIFEST}env: { KEY: { secret: api-key } }\n`;
  platform.values = { env: new Map(), secrets: new Map([['api-key', { valueId: 'value-1', version: 1 }]]) };
  await platform.deploy(withSecret);
  await platform.settle();
  platform.values = { env: new Map(), secrets: new Map([['api-key', { valueId: 'value-2', version: 2 }]]) };
  const config = await platform.create({ cause: 'config' });
  assert.equal(config.release, 1);
  await platform.settle();
  const back = await platform.create({ cause: 'rollback', to: null, beforeDeploy: false });
  assert.deepEqual([back.cause, back.fromNumber, back.release], ['rollback', 1, 1]);
  await platform.settle();
  assert.equal((await platform.deployment(3)).phase, 'succeeded');
  platform.unavailable.add('value-2');
  await assert.rejects(platform.create({ cause: 'rollback', to: 2, beforeDeploy: false }), (error: unknown) => {
    assert.ok(isFailure(error, 'plan_refused'));
    assert.match(error.message, /api-key, version 2/u);
    return true;
  });
});

test('what the plan refuses is never begun', async () => {
  const refused = async (manifest: string, code: string): Promise<void> => {
    const found = (await plan(manifest)).refusals.map((one) => one.code);
    assert.deepEqual(found, [code]);
    await assert.rejects(platform.deploy(manifest), (error: unknown) =>
      isFailure(error, code === 'no_capacity' ? 'no_capacity' : 'plan_refused'),
    );
    assert.equal(platform.instances().length, 0);
  };
  await refused(`${MANIFEST}env: { KEY: { secret: api-key } }\n`, 'missing_secret');
  await refused(MANIFEST.replace('instances: 2', 'resources: { cpu: 5 }'), 'no_capacity');
  await refused(MANIFEST.replace('instances: 2', 'placement: { labels: { disk: ssd } }'), 'no_capacity');
  await refused(MANIFEST.replace('instances: 2', 'instances: 2, port: 9000'), 'no_capacity');
  await refused(MANIFEST.replace('instances: 2', 'resources: { cpu: { cores: 1, bind: true } }'), 'unsupported');
  await refused(
    MANIFEST.replace('instances: 2', 'instances: 3, placement: { strategy: fill, perNode: 3 }, resources: { cpu: 2 }'),
    'no_capacity',
  );
  await refused(MANIFEST.replace('command: node server.js', 'image: registry.example.com/shop:1'), 'unsupported');
  platform.routeOwner = { environmentId: 'another', app: 'blog', environment: 'production' };
  await refused(MANIFEST, 'route_conflict');
  platform.routeOwner = null;
  await refused(MANIFEST.replace('instances: 2', 'routes: [ { host: Libra.localhost } ]'), 'route_conflict');
  await setScheduling(platform, 'cordoned');
  await refused(MANIFEST, 'no_capacity');
});

test('cores of its own stand in the record of an Instance, and no other gets them', async () => {
  await letBindCores(platform);
  const bound = MANIFEST.replace('instances: 2', 'instances: 3, resources: { cpu: { request: 1.5, limit: 1.5, bind: true } }');
  assert.deepEqual(
    (await plan(bound)).refusals.map(({ message }) => message),
    ['web: No Node can take it (laptop: cores: 1 free of 4, 1.5 of its own asked).'],
  );
  await platform.deploy(bound.replace('instances: 3', 'instances: 2, rollout: { surge: 0, unavailable: 1 }'));
  await platform.settle();
  const cores = platform.instances().map(({ spec }) => spec.cores?.map(({ core, pieces }) => `${core}:${pieces}`).join(' '));
  assert.deepEqual(cores, ['1:100 0:50', '2:100 0:50']);
});

test('an update that finds no room beside the old Instances is refused with the way out', async () => {
  await platform.deploy(MANIFEST.replace('instances: 2', 'resources: { cpu: 3 }'));
  await platform.settle();
  const tight = await plan(MANIFEST.replace('instances: 2', 'resources: { cpu: 3.5 }'));
  assert.deepEqual(
    tight.refusals.map((one) => one.code),
    ['no_capacity'],
  );
  assert.match(tight.refusals[0]?.hint ?? '', /unavailable: 1/u);
  const roomy = MANIFEST.replace('instances: 2', 'resources: { cpu: 3.5 }, rollout: { surge: 0, unavailable: 1 }');
  assert.deepEqual((await plan(roomy)).refusals, []);
  await platform.deploy(roomy);
  await platform.settle();
  assert.equal((await platform.deployment(2)).phase, 'succeeded');
});

test('a repeated request with the same record id makes one Deployment', async () => {
  await platform.deploy(MANIFEST);
  await platform.settle();
  const restart = () =>
    platform.deploys.deployments.create(callOf({ params: WHERE, query: undefined, body: { cause: 'restart' }, recordId: 'record-1' }));
  const both = [await restart(), await restart()];
  assert.deepEqual(
    both.map((one) => [one.id, one.number]),
    [
      ['record-1', 2],
      ['record-1', 2],
    ],
  );
});

test('following tells every state once up to the end, and a reconnect goes on where it was', async () => {
  await platform.deploy(MANIFEST);
  const stop = new AbortController();
  const follow = (lastEventId: string | null) =>
    platform.deploys.deployments.follow({
      ...callOf({ params: { ...WHERE, deployment: '1' }, query: undefined, body: undefined }),
      lastEventId,
      signal: stop.signal,
    });
  const seen: { readonly id: string | null; readonly data: DeploymentReply }[] = [];
  const reading = (async () => {
    for await (const item of follow(null)) seen.push(item);
  })();
  await platform.settle();
  await reading;
  assert.equal(seen.at(-1)?.data.phase, 'succeeded');
  assert.equal(new Set(seen.map((item) => item.id)).size, seen.length, 'nothing twice');
  const again: unknown[] = [];
  for await (const item of follow(seen.at(-1)?.id ?? null)) again.push(item);
  assert.deepEqual(again, [], 'nothing is left after the last');
  stop.abort();
});

test('who follows while nothing can be written is told so, instead of waiting without a word', async () => {
  await platform.deploy(MANIFEST);
  const { view, clock } = platform.context;
  const stream = platform.deploys.deployments.follow(callOf({ params: { ...WHERE, deployment: '1' }, query: undefined, body: undefined }));
  const items = stream[Symbol.asyncIterator]();
  await items.next();
  const waiting = items.next();
  waiting.catch(() => undefined);
  await clock.advance(20_000);
  view.trouble = () => new Failure('storage_failed', { message: 'The disk is full.', hint: 'Free some space.' });
  await clock.advance(20_000);
  await assert.rejects(
    waiting,
    (error) => isFailure(error, 'storage_failed') && /Deployment 1 cannot go on: The disk is full/u.test(error.message),
  );
});
