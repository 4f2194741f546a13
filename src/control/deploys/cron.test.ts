// Schedules with a clock that moves as told: once per tick, whatever happens to clock, control and earlier runs.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { update } from '../../store/records.ts';
import { createGrantHandlers } from '../auth/grants.ts';
import { nodeStatusRecords } from '../cluster/records.ts';
import { callOf } from '../test-context.ts';
import { createScheduleReconciler, tickInstanceId } from './cron.ts';
import { createPlatform, WHERE } from './deploys-fixture.ts';
import type { Platform } from './deploys-fixture.ts';

const MINUTE_MS = 60_000;
const manifest = (more: string): string => `
app: shop
entrypoints:
  job: { command: node job.js, schedule: "*/5 * * * *"${more} }
`;

let platform: Platform;
beforeEach(async () => {
  platform = await createPlatform();
});
afterEach(() => platform.close());

const ticks = (): number[] =>
  platform
    .instances()
    .filter(({ spec }) => spec.role === 'schedule')
    .map(({ spec }) => (spec.tickMs ?? 0) / MINUTE_MS - Date.UTC(2026, 0, 1) / MINUTE_MS)
    .sort((a, b) => a - b);

const deploy = async (more = ''): Promise<void> => {
  await platform.deploy(manifest(more));
  await platform.settle();
};

/** Minutes pass, with a look every 20 seconds. */
const minutes = async (count: number): Promise<void> => {
  for (let step = 0; step < count * 3; step += 1) {
    await platform.context.clock.advance(20_000);
    await platform.pass('schedules');
  }
};

test('each tick runs once, however often it is looked at, and by a second control as well', async () => {
  await deploy();
  assert.deepEqual(ticks(), [], 'nothing runs before its time');
  await minutes(11);
  const second = createScheduleReconciler(platform.context);
  await second.run(new AbortController().signal);
  await platform.pass('schedules');
  assert.deepEqual(ticks(), [5, 10]);
});

test('the id of a tick follows from what it is, and is a UUID of version 8', () => {
  const id = tickInstanceId('environment-1', 'job', 300_000);
  assert.equal(id, tickInstanceId('environment-1', 'job', 300_000));
  assert.notEqual(id, tickInstanceId('environment-1', 'job', 600_000));
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/u);
});

test('overlap: skip leaves a tick out while the run before goes on, and does not make up for it', async () => {
  platform.agent = () => ({ phase: 'running', healthy: true });
  await deploy();
  await minutes(6);
  await minutes(5);
  platform.agent = () => ({ phase: 'succeeded', healthy: false });
  await minutes(3);
  assert.deepEqual(ticks(), [5]);
  assert.equal(platform.context.events.filter((event) => event.kind === 'schedule.skipped').length, 1);
  await minutes(2);
  assert.deepEqual(ticks(), [5, 15]);
});

test('overlap: allow runs beside it, replace stops it', async () => {
  platform.agent = () => ({ phase: 'running', healthy: true });
  await deploy(', overlap: allow');
  await minutes(11);
  assert.deepEqual(ticks(), [5, 10]);
  assert.equal(
    platform.instances().every(({ spec }) => spec.desired === 'run'),
    true,
  );
  await deploy(', overlap: replace');
  await minutes(5);
  assert.deepEqual(
    platform
      .instances()
      .map(({ spec }) => spec.desired)
      .sort(),
    ['run', 'stop', 'stop'],
  );
});

test('missed: skip forgets what was missed while control was down, run makes up for the last one', async () => {
  await deploy();
  await minutes(6);
  await platform.context.clock.advance(22 * MINUTE_MS);
  await platform.pass('schedules');
  assert.deepEqual(ticks(), [5]);
  await deploy(', missed: run');
  await platform.context.clock.advance(20 * MINUTE_MS);
  await platform.pass('schedules');
  assert.deepEqual(ticks(), [5, 45]);
});

test('nothing runs while the Environment is stopped, and nothing is made up for after it', async () => {
  await deploy(', missed: run');
  await platform.deploys.environments.stop(callOf({ params: WHERE, query: undefined, body: undefined }));
  await minutes(11);
  assert.deepEqual(ticks(), []);
  await platform.deploys.environments.start(callOf({ params: WHERE, query: undefined, body: undefined }));
  await minutes(2);
  assert.deepEqual(ticks(), []);
  await minutes(3);
  assert.deepEqual(ticks(), [15]);
});

test('a clock that is set back neither repeats ticks nor stops them, one that is set on skips the time between', async () => {
  await deploy();
  await minutes(11);
  assert.deepEqual(ticks(), [5, 10]);
  platform.context.clock.jump(-6 * MINUTE_MS);
  await minutes(6);
  assert.deepEqual(ticks(), [5, 10], 'both came again');
  await minutes(5);
  assert.deepEqual(ticks(), [5, 10, 15]);
  platform.context.clock.jump(24 * 60 * MINUTE_MS);
  await minutes(5);
  assert.deepEqual(ticks(), [5, 10, 15, 24 * 60 + 20]);
});

test('only the stable Deployment is run', async () => {
  await deploy();
  platform.agent = () => null;
  await platform.deploy(`${manifest('')}  web: { command: node web.js }\n`);
  await minutes(6);
  const stable = (await platform.deployment(1)).id;
  assert.deepEqual(
    platform.instances().flatMap(({ spec }) => (spec.role === 'schedule' ? [spec.deploymentId] : [])),
    [stable],
  );
});

test('what asks for a power that was taken back is not placed: a tick is left out, a slot waits for the grant', async () => {
  const { context } = platform;
  const node = context.view.get(nodeStatusRecords, 'node-1');
  assert.ok(node !== undefined);
  const drivers = node.document.drivers.map((driver) => ({ ...driver, name: 'docker', containers: true as const }));
  await context.view.commit(update(nodeStatusRecords, node, { ...node.document, drivers }));
  const grants = createGrantHandlers(context);
  const grant = () => grants.create(callOf({ params: { app: 'shop' }, query: undefined, body: { power: 'privileged' } }));
  const asks = 'container: { host: { privileged: true } }';
  const text = `
app: shop
build: { base: node }
entrypoints:
  job: { command: node job.js, schedule: "*/5 * * * *", ${asks} }
  web: { command: node web.js, ${asks} }
`;
  await platform.apps.apps.create(callOf({ params: {}, query: undefined, body: { name: 'shop', gitUrl: null } }));
  const { id } = await grant();
  await platform.deploy(text);
  await platform.settle();
  await minutes(6);
  assert.deepEqual(ticks(), [5]);
  const webs = (): readonly string[] =>
    platform.instances().flatMap(({ spec, status }) => (spec.role === 'service' && status?.phase === 'running' ? [spec.entrypoint] : []));
  assert.deepEqual(webs(), ['web']);

  await grants.delete(callOf({ params: { grant: id }, query: undefined, body: undefined }));
  await platform.pass('rollout');
  assert.deepEqual(webs(), ['web'], 'what runs, runs on');
  platform.agent = ({ role }) => (role === 'service' ? { phase: 'lost', healthy: false } : { phase: 'succeeded', healthy: false });
  await platform.pass('rollout');
  platform.agent = () => ({ phase: 'running', healthy: true });
  await platform.settle();
  await minutes(5);
  assert.deepEqual([ticks(), webs()], [[5], []]);
  const told = context.events.filter(({ kind }) => kind === 'schedule.skipped' || kind === 'instance.unplaced');
  const words = (name: string): string =>
    `${name} of shop asks for all powers over its machine (privileged), which no administrator has granted. An administrator grants it with: libra grants add shop/production privileged`;
  assert.deepEqual(
    told.map(({ message }) => message),
    [`web of production is not started: ${words('web')}`, `job of production did not run at 2026-01-01T00:10:00.000Z: ${words('job')}`],
  );

  await grant();
  await context.clock.advance(1000);
  await platform.settle();
  assert.deepEqual(webs(), ['web']);
});
