// Canaries through their handlers: planned, refused, promoted, shown with both versions' figures.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { isFailure } from '../../lib/failure.ts';
import { NO_REQUESTS } from '../../model/version-counts.ts';
import { callOf } from '../test-context.ts';
import { createPlatform, WHERE } from './deploys-fixture.ts';
import type { Platform } from './deploys-fixture.ts';
import { noticesOf } from './notices.ts';

const MANIFEST = `
app: shop
entrypoints:
  web: { command: node server.js, instances: 4 }
  worker: { command: node worker.js }
`;
type Canary = NonNullable<Parameters<Platform['deploy']>[1]>;
const canary = (change: Partial<Canary> = {}): Canary => ({
  steps: [{ percent: 25, holdMs: null }],
  rules: [],
  sticky: null,
  abortOn: null,
  keepMs: 0,
  ...change,
});

let platform: Platform;
beforeEach(async () => {
  platform = await createPlatform();
});
afterEach(() => platform.close());

const plan = (manifest: string, what: Canary | null) =>
  platform.deploys.plans.create(
    callOf({
      params: {},
      query: undefined,
      body: { manifest, environment: 'production', app: null, release: null, reset: false, canary: what },
    }),
  );
const promote = (number: number, percent: number | null) =>
  platform.deploys.deployments.promote(callOf({ params: { ...WHERE, deployment: String(number) }, query: undefined, body: { percent } }));
const parts = async (): Promise<Record<string, number>> => {
  const { items } = await platform.deploys.instances.list(callOf({ params: WHERE, query: { all: false }, body: undefined }));
  const counts: Record<string, number> = {};
  for (const item of items) counts[`${item.entrypoint} ${item.part}`] = (counts[`${item.entrypoint} ${item.part}`] ?? 0) + 1;
  return counts;
};
const environment = () => platform.deploys.environments.get(callOf({ params: WHERE, query: undefined, body: undefined }));

test('the plan says what is tried and how, and that there is nothing to stand beside at first', async () => {
  const first = await plan(MANIFEST, canary());
  assert.equal(first.canary, null);
  assert.match(first.warnings.join(), /rolled out in full/u);
  await platform.deploy(MANIFEST);
  await platform.settle();
  assert.deepEqual((await plan(MANIFEST, canary({ rules: [{ kind: 'header', name: 'X-Beta', value: '1' }] }))).canary, {
    description: '25%, header:x-beta=1, then it waits for libra promote',
    entrypoints: ['web'],
  });
  assert.equal((await plan(MANIFEST, null)).canary, null);
  const alone = MANIFEST.replace('instances: 4', 'singleton: true');
  const refused = await plan(alone, canary());
  assert.deepEqual(
    refused.refusals.map((one) => one.code),
    ['no_canary'],
  );
  await assert.rejects(
    plan(
      MANIFEST,
      canary({
        steps: [
          { percent: 9, holdMs: null },
          { percent: 10, holdMs: null },
        ],
      }),
    ),
    (error: unknown) => isFailure(error, 'invalid_input'),
  );
});

test('a canary that finds no room beside the old Instances is refused with the way out', async () => {
  const big = MANIFEST.replace('instances: 4', 'instances: 2, resources: { cpu: 1.5 }');
  await platform.deploy(big);
  await platform.settle();
  const refused = await plan(big, canary({ steps: [{ percent: 0, holdMs: null }] }));
  assert.deepEqual(
    refused.refusals.map((one) => [one.code, /beside all old Instances with 2 of its own/u.test(one.message)]),
    [['no_capacity', true]],
  );
  assert.match(refused.refusals[0]?.hint ?? '', /--canary off/u);
});

test('the manifest says how every deploy is tried, unless the deploy says otherwise', async () => {
  const text = `${MANIFEST}rollout: { canary: { steps: [25%:1m, 50%], match: [header:x-beta=1], sticky: address, abortOn: { errorRate: 5% } } }\n`;
  await platform.deploy(text, undefined);
  await platform.settle();
  const made = await platform.deployment(await platform.deploy(text, undefined));
  assert.deepEqual(made.canary?.steps, [
    { percent: 25, holdMs: 60_000 },
    { percent: 50, holdMs: null },
  ]);
  assert.deepEqual([made.canary?.rules, made.canary?.sticky], [['header:x-beta=1'], 'address']);
  assert.equal((await platform.deployment(await platform.deploy(text, null))).canary, null);
  assert.deepEqual((await platform.deployment(await platform.deploy(text, canary()))).canary?.steps, canary().steps);
});

test('a canary is shown with its share and both versions’ figures, and promoted once', async () => {
  await platform.deploy(MANIFEST);
  await platform.settle();
  const number = await platform.deploy(MANIFEST, canary());
  await platform.settle();
  platform.comparisons = [30_000, 600_000].map((windowMs) => ({
    entrypoint: 'web',
    windowMs,
    stable: { ...NO_REQUESTS, requests: windowMs / 1000 },
    candidate: { ...NO_REQUESTS, requests: 40, errors: 1 },
    recent: { stable: NO_REQUESTS, candidate: NO_REQUESTS },
  }));
  const shown = await platform.deployment(number);
  assert.equal(shown.phase, 'canary');
  assert.deepEqual([shown.canary?.percentInForce, shown.canary?.step, shown.canary?.waits, shown.canary?.nextAtMs], [25, 1, true, null]);
  assert.deepEqual(
    shown.canary?.figures.map((one) => [one.entrypoint, one.windowMs, one.stable.requests, one.candidate.errorRate]),
    [['web', 600_000, 600, 0.025]],
  );
  assert.deepEqual(await parts(), { 'web main': 4, 'web canary': 1, 'worker main': 1 });
  await platform.deploys.environments.pause(callOf({ params: WHERE, query: undefined, body: { maxMs: 0 } }));
  assert.deepEqual(noticesOf(platform.context.view), [
    'shop/production is paused (libra resume --app shop).',
    'shop/production: Deployment 2 is tried with 25 % of the requests (libra deployments --app shop).',
  ]);
  await platform.deploys.environments.resume(callOf({ params: WHERE, query: undefined, body: undefined }));
  assert.deepEqual([(await environment()).stable, (await environment()).candidate], [1, 2]);
  assert.equal((await promote(number, 50)).canary?.percent, 50);
  await platform.settle();
  assert.deepEqual([(await platform.deployment(number)).canary?.percentInForce, (await parts())['web canary']], [50, 2]);
  await promote(number, null);
  await platform.settle();
  const done = await platform.deployment(number);
  assert.deepEqual([done.phase, done.stable, done.canary?.promoted, done.canary?.percentInForce], ['succeeded', true, true, 100]);
  assert.deepEqual(await parts(), { 'web main': 4, 'worker main': 1 });
  for (const wrong of [1, number]) await assert.rejects(promote(wrong, null), (error: unknown) => isFailure(error, 'conflict'));
  const told = platform.context.events.map((event) => event.kind);
  assert.ok(told.includes('deployment.canary') && told.includes('deployment.promoted'));
});

test('a restart, new values and a rollback without a number are refused while a canary waits; a named one takes over', async () => {
  await platform.deploy(MANIFEST);
  await platform.settle();
  await platform.deploy(MANIFEST, canary());
  await platform.settle();
  for (const body of [{ cause: 'restart' }, { cause: 'config' }, { cause: 'rollback', to: null, beforeDeploy: false }] as const) {
    await assert.rejects(
      platform.create(body),
      (error: unknown) => isFailure(error, 'plan_refused') && /libra abort/u.test(error.hint ?? ''),
    );
  }
  const back = await platform.create({ cause: 'rollback', to: 1, beforeDeploy: false });
  assert.deepEqual([(await platform.deployment(2)).phase, (await platform.deployment(2)).reason?.code], ['superseded', 'superseded']);
  await platform.settle();
  assert.equal((await platform.deployment(back.number)).phase, 'succeeded');
});

test('steps go on with time alone, and say when', async () => {
  await platform.deploy(MANIFEST);
  await platform.settle();
  const number = await platform.deploy(MANIFEST, canary({ steps: [25, 75].map((percent) => ({ percent, holdMs: 60_000 })) }));
  await platform.settle();
  const first = await platform.deployment(number);
  assert.equal(first.canary?.waits, false);
  assert.ok(Math.abs((first.canary?.nextAtMs ?? 0) - platform.context.clock.now() - 60_000) < 5000);
  await platform.context.clock.advance(60_000);
  await platform.settle();
  assert.deepEqual([(await platform.deployment(number)).canary?.step, (await platform.deployment(number)).canary?.percentInForce], [2, 75]);
  await platform.context.clock.advance(60_000);
  await platform.settle();
  assert.equal((await platform.deployment(number)).phase, 'succeeded');
});

test('after a switch the old Instances are shown as kept, and a rollback takes them over', async () => {
  await platform.deploy(MANIFEST);
  await platform.settle();
  const number = await platform.deploy(MANIFEST, canary({ steps: [{ percent: 0, holdMs: null }], keepMs: 600_000 }));
  await platform.settle();
  await promote(number, null);
  await platform.settle();
  assert.deepEqual(await parts(), { 'web main': 4, 'web kept': 4, 'worker main': 1 });
  assert.deepEqual(noticesOf(platform.context.view), ['shop/production: Deployment 1 is kept at hand (libra rollback --app shop).']);
  const kept = platform
    .instances()
    .filter(({ spec }) => spec.entrypoint === 'web' && spec.slot === 0 && spec.desired === 'run')
    .map(({ spec }) => spec.id)
    .sort()[0];
  const back = await platform.create({ cause: 'rollback', to: null, beforeDeploy: false });
  assert.equal(back.fromNumber, 1);
  await platform.settle();
  assert.equal((await platform.deployment(back.number)).phase, 'succeeded');
  assert.deepEqual(await parts(), { 'web main': 4, 'worker main': 1 });
  assert.equal(platform.instances().find(({ spec }) => spec.id === kept)?.spec.deploymentId, back.id);
});
