// Environments and Instances through their handlers: scale, stop, start, one-off runs, Nodes that are emptied.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { table } from '../../api/table.ts';
import { isFailure } from '../../lib/failure.ts';
import type { FailureCode } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import { nodeSpecRecords, nodeStatusRecords } from '../cluster/records.ts';
import { aNode, callOf } from '../test-context.ts';
import { create, put } from '../../store/records.ts';
import { createPlatform, setScheduling, WHERE } from './deploys-fixture.ts';
import type { Platform } from './deploys-fixture.ts';

const MANIFEST =
  'app: shop\nentrypoints:\n  web: { command: node server.js, instances: 2 }\n  one: { command: node one.js, singleton: true }\n';

let platform: Platform;
beforeEach(async () => {
  platform = await createPlatform();
  await platform.deploy(MANIFEST);
  await platform.settle();
});
afterEach(() => platform.close());

const scale = (entrypoints: Readonly<Record<string, number | null>>) =>
  platform.deploys.environments.scale(callOf({ params: WHERE, query: undefined, body: { entrypoints } }));
const live = (): string[] =>
  platform
    .instances()
    .filter(({ spec, status }) => spec.desired === 'run' && status?.phase === 'running')
    .map(({ spec }) => `${spec.entrypoint}/${spec.slot}`)
    .sort();
const refuses = (made: Promise<unknown>, code: FailureCode): Promise<void> =>
  assert.rejects(made, (error: unknown) => isFailure(error, code));

test('scaling works on what runs, from the highest slot down, and is refused where it cannot be', async () => {
  await scale({ web: 4 });
  await platform.settle();
  assert.deepEqual(live(), ['one/0', 'web/0', 'web/1', 'web/2', 'web/3']);
  await scale({ web: 1 });
  await platform.settle();
  assert.deepEqual(live(), ['one/0', 'web/0']);
  const back = await scale({ web: null });
  assert.deepEqual(
    back.entrypoints.map((one) => [one.name, one.wanted, one.source]),
    [
      ['web', 2, 'entrypoint'],
      ['one', 1, 'entrypoint'],
    ],
  );
  await refuses(scale({ web: 500 }), 'no_capacity');
  await refuses(scale({ one: 2 }), 'plan_refused');
  await refuses(scale({ nothing: 1 }), 'plan_refused');
});

test('a stop ends everything, also what is on its way, and a start brings it back', async () => {
  platform.agent = (spec) => (spec.deploymentId === second.id ? null : { phase: 'running', healthy: true });
  const second = await platform.deployment(await platform.deploy(MANIFEST));
  await platform.pass('rollout');
  await platform.deploys.environments.stop(callOf({ params: WHERE, query: undefined, body: undefined }));
  await platform.settle();
  assert.deepEqual(live(), []);
  assert.equal((await platform.deployment(2)).phase, 'canceled');
  await platform.deploys.environments.start(callOf({ params: WHERE, query: undefined, body: undefined }));
  await platform.settle();
  assert.deepEqual(live(), ['one/0', 'web/0', 'web/1']);
});

test('a stopped Instance is replaced in its slot', async () => {
  const [first] = platform.instances().filter(({ spec }) => spec.entrypoint === 'web' && spec.slot === 0);
  const instance = first?.spec.id ?? '';
  const stopping = await platform.deploys.instances.stop(callOf({ params: { ...WHERE, instance }, query: undefined, body: undefined }));
  assert.equal(stopping.draining, true);
  await platform.settle();
  assert.deepEqual(live(), ['one/0', 'web/0', 'web/1']);
  assert.equal(platform.instances().find(({ spec }) => spec.id === instance)?.status?.phase, 'stopped');
});

test('a one-off run has the variables of its Entrypoint and ends by itself', async () => {
  platform.agent = (spec) => (spec.role === 'run' ? { phase: 'succeeded', healthy: false } : { phase: 'running', healthy: true });
  const body = { command: ['node', 'task.js'], count: 1 };
  const [run, ...others] = (await platform.deploys.instances.run(callOf({ params: WHERE, query: undefined, body }))).items;
  assert.ok(run !== undefined && others.length === 0);
  assert.deepEqual([run.entrypoint, run.role, run.deployment], ['web', 'run', 1]);
  await platform.settle();
  assert.deepEqual(platform.instances().find(({ spec }) => spec.id === run.id)?.spec.commands, [['node', 'task.js']]);
  await refuses(
    platform.deploys.instances.run(callOf({ params: WHERE, query: undefined, body: { entrypoint: 'none', count: 1 } })),
    'not_found',
  );
});

test('runs at once are all started, in slots of their own and spread over the Nodes, or none is', async () => {
  await platform.deploy(`${MANIFEST}  disk: { command: node disk.js, volumes: [{ name: data, path: /data }] }\n`);
  await platform.settle();
  const { view } = platform.context;
  const status = view.get(nodeStatusRecords, 'node-1')?.document;
  assert.ok(status !== undefined);
  await view.commit(create(nodeSpecRecords, aNode({ id: 'node-2', name: 'other' })), put(nodeStatusRecords, { ...status, id: 'node-2' }));
  const recordId = newId();
  const ask = async (count: number, entrypoint = 'web') => {
    const call = { params: WHERE, query: undefined, body: { command: ['node', 'task.js'], entrypoint, count } };
    return (await platform.deploys.instances.run({ ...callOf<typeof table.instances.run>(call), recordId })).items;
  };
  const before = platform.instances().length;
  await refuses(ask(2, 'disk'), 'plan_refused');
  await assert.rejects(ask(40_000), /find a Node. Of the others/u);
  assert.equal(platform.instances().length, before);
  const made = await ask(4);
  assert.deepEqual(
    made.map(({ slot, id }) => [slot, id.slice(0, -12) === recordId.slice(0, -12)]),
    [0, 1, 2, 3].map((slot) => [slot, true]),
  );
  assert.ok(new Set(made.map(({ node }) => node)).size === 2, made.map(({ node }) => node).join());
  assert.deepEqual(await ask(4), made, 'a repeat finds them');
  assert.equal(platform.instances().length, before + 4);
});

test('what is on a Node that is emptied moves to another, and stays while there is none', async () => {
  await setScheduling(platform, 'draining');
  await platform.settle();
  assert.deepEqual(live(), ['one/0', 'web/0', 'web/1'], 'there is no other Node');
  const { view } = platform.context;
  const status = view.get(nodeStatusRecords, 'node-1')?.document;
  assert.ok(status !== undefined);
  await view.commit(create(nodeSpecRecords, aNode({ id: 'node-2', name: 'other' })), put(nodeStatusRecords, { ...status, id: 'node-2' }));
  await platform.context.clock.advance(31_000);
  await platform.settle();
  assert.deepEqual(live(), ['one/0', 'web/0', 'web/1']);
  const nodes = platform.instances().flatMap(({ spec }) => (spec.desired === 'run' ? [spec.nodeId] : []));
  assert.deepEqual(new Set(nodes), new Set(['node-2']));
});

test('a pause holds from now on, can be set anew, and ends; an Edge that does not follow is told', async () => {
  await platform.deploy(MANIFEST);
  await platform.settle();
  const pause = (maxMs: number) => platform.deploys.environments.pause(callOf({ params: WHERE, query: undefined, body: { maxMs } }));
  const first = await pause(30_000);
  const now = platform.context.clock.now();
  assert.deepEqual(first.paused, { sinceMs: now, heldUntilMs: now + 30_000 });
  await platform.context.clock.advance(1000);
  assert.deepEqual((await pause(0)).paused, { sinceMs: now + 1000, heldUntilMs: now + 1000 });
  platform.everywhere = false;
  await assert.rejects(pause(30_000), (error: unknown) => isFailure(error, 'timeout') && /libra resume/u.test(error.hint ?? ''));
  const resume = () => platform.deploys.environments.resume(callOf({ params: WHERE, query: undefined, body: undefined }));
  assert.equal((await resume()).paused, null);
  assert.equal((await resume()).paused, null, 'again is no error');
});
