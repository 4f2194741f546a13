import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { table } from '../../api/table.ts';
import { isFailure } from '../../lib/failure.ts';
import { create, put } from '../../store/records.ts';
import { instanceSpecRecords } from '../deploys/records.ts';
import { anInstance, aNode, aStatus, callOf, createTestContext, seedApp } from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import { ensureLocalNode } from './bootstrap.ts';
import { createNodeHandlers } from './nodes.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords, runtimeRecords } from './records.ts';

const heartbeats = { lastHeardMs: () => undefined, lastSeenMs: () => null };
const deps = {
  heartbeats,
  ownNodeId: 'own',
  nodeUsageOf: () => ({ cpu: 0.5, memoryBytes: 7, space: { usedBytes: 1, sizeBytes: 2 } }),
  stats: async () => ({ node: 'laptop', stepMs: 1, points: [] }),
};

async function withContext(run: (context: TestContext) => Promise<void>): Promise<void> {
  const context = await createTestContext();
  try {
    await run(context);
  } finally {
    await context.close();
  }
}

const ensure = (context: TestContext, nodeId: string, hostname: string) => ensureLocalNode(context, { nodeId, hostname, teamId: 'team-1' });

test('a machine is one Node whatever it is called, and two machines of one name are two', () =>
  withContext(async (context) => {
    assert.equal((await ensure(context, 'a', 'Build_Box.example.org')).name, 'build-box');
    assert.equal((await ensure(context, 'a', 'other')).name, 'build-box');
    assert.equal((await ensure(context, 'b', 'build-box')).name, 'build-box-2');
    assert.equal((await ensure(context, 'c', '???')).name, 'node');
    assert.equal((await ensure(context, 'd', `${'x'.repeat(60)}.local`)).name, 'x'.repeat(30));
    assert.equal(context.view.list(runtimeRecords).length, 1);
    assert.equal(context.view.list(nodeSpecRecords).length, 4);
  }));

test('what is asked of a Node is counted from its Instances that have not ended', () =>
  withContext(async (context) => {
    await seedApp(context);
    await context.view.commit(
      create(instanceSpecRecords, anInstance()),
      create(instanceSpecRecords, anInstance({ id: 'instance-2', slot: 1 })),
      put(instanceStatusRecords, aStatus({ id: 'instance-2', phase: 'failed' })),
    );
    const { nodes } = createNodeHandlers(context, deps);
    const reply = await nodes.get(callOf<typeof table.nodes.get>({ params: { node: 'laptop' }, query: undefined, body: undefined }));
    assert.deepEqual(reply.requested, { cpu: 0.1, memoryBytes: 1e6, volumeBytes: 0, devices: {}, instances: 1 });
    assert.equal(reply.state, 'unknown');
    const unknown = { load: null, network: null, disk: null };
    assert.deepEqual(reply.usage, { cpu: 0.5, memoryBytes: 7, space: { usedBytes: 1, sizeBytes: 2 }, ...unknown });
  }));

test('cordon, drain and uncordon change what is asked of a Node, once each', () =>
  withContext(async (context) => {
    await context.view.commit(create(nodeSpecRecords, aNode()));
    const { nodes } = createNodeHandlers(context, deps);
    const parts = { params: { node: 'laptop' }, query: undefined, body: undefined };
    const call = callOf<typeof table.nodes.cordon>(parts);
    assert.equal((await nodes.cordon(call)).scheduling, 'cordoned');
    const { revision } = context.view;
    await nodes.cordon(call);
    assert.equal(context.view.revision, revision);
    assert.equal((await nodes.drain(callOf<typeof table.nodes.drain>(parts))).scheduling, 'draining');
    assert.equal((await nodes.uncordon(callOf<typeof table.nodes.uncordon>(parts))).scheduling, 'open');
    assert.deepEqual(
      context.events.map((event) => event.kind),
      ['node.cordoned', 'node.draining', 'node.open'],
    );
    const none = callOf<typeof table.nodes.cordon>({ params: { node: 'none' }, query: undefined, body: undefined });
    await assert.rejects(nodes.cordon(none), (error) => isFailure(error, 'not_found'));
  }));

test('what is said of a Node counts beside what its agent reports', () =>
  withContext(async (context) => {
    await context.view.commit(
      create(nodeSpecRecords, aNode({ labels: { old: 'x' } })),
      put(nodeStatusRecords, {
        id: aNode().id,
        state: 'up',
        drivers: [],
        capacity: { cpu: 4, memoryBytes: 1000, volumeBytes: 500 },
        platform: { os: 'linux', arch: 'x64', program: 'node' },
        bootId: 'boot',
        lastSeenMs: 1,
      }),
    );
    const { nodes } = createNodeHandlers(context, deps);
    type Body = Parameters<typeof nodes.update>[0]['body'];
    const change = (body: Body) => nodes.update(callOf<typeof table.nodes.update>({ params: { node: 'laptop' }, query: undefined, body }));
    const reply = await change({ labels: { disk: 'ssd', old: null }, reserved: 0.25, devices: { gpu: 2 }, overcommit: { cpu: 2 } });
    assert.deepEqual(reply.capacity, { cpu: 3, memoryBytes: 750, volumeBytes: 375, devices: { gpu: 2 } });
    assert.deepEqual([reply.labels, reply.overcommit, reply.reserved], [{ disk: 'ssd' }, { cpu: 2, memory: 1 }, 0.25]);
    assert.equal(reply.version, 'node');
    const { revision } = context.view;
    await change({ labels: { disk: 'ssd' } });
    assert.equal(context.view.revision, revision, 'nothing is different');
    assert.deepEqual((await change({ volumeBytes: 100, devices: { gpu: null } })).capacity, {
      cpu: 3,
      memoryBytes: 750,
      volumeBytes: 100,
      devices: {},
    });
    assert.equal((await change({ volumeBytes: null })).capacity.volumeBytes, 375);
    const wrong: readonly Body[] = [{ labels: { 'a b': 'x' } }, { labels: { a: 'x y' } }, { devices: { 'G P U': 1 } }];
    for (const body of wrong) await assert.rejects(change(body), (error) => isFailure(error, 'invalid_input'));
    assert.equal(context.events.filter(({ kind }) => kind === 'node.changed').length, 3);
  }));

test('a Node goes when it is empty, with what it has only by force, and the own machine never', () =>
  withContext(async (context) => {
    await seedApp(context);
    await context.view.commit(create(instanceSpecRecords, anInstance()), put(instanceStatusRecords, aStatus()));
    const { nodes } = createNodeHandlers(context, deps);
    const remove = (force: 'true' | 'false') =>
      nodes.remove(callOf<typeof table.nodes.remove>({ params: { node: 'laptop' }, query: { force }, body: undefined }));
    await assert.rejects(remove('false'), (error) => isFailure(error, 'conflict') && (error.hint ?? '').includes('drain laptop'));
    assert.equal(context.view.byName(nodeSpecRecords, 'laptop')?.document.scheduling, 'open');
    assert.deepEqual(await remove('true'), { name: 'laptop', lostInstances: 1 });
    assert.equal(context.view.get(instanceStatusRecords, 'instance-1')?.document.phase, 'lost');
    assert.equal(context.view.byName(nodeSpecRecords, 'laptop'), undefined);
    await assert.rejects(remove('true'), (error) => isFailure(error, 'not_found'));
    await context.view.commit(create(nodeSpecRecords, aNode({ id: 'own' })));
    await assert.rejects(remove('true'), (error) => isFailure(error, 'conflict'));
    assert.deepEqual(context.view.byName(nodeSpecRecords, 'laptop')?.document.id, 'own');
  }));
