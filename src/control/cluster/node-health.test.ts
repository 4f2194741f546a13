import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, put, remove } from '../../store/records.ts';
import { instanceSpecRecords } from '../deploys/records.ts';
import { aNode, anInstance, aStatus, createTestContext, seedApp } from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import { createNodeHealth, isMassLoss } from './node-health.ts';
import type { NodeHealth } from './node-health.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords } from './records.ts';

interface Cluster {
  readonly context: TestContext;
  readonly health: NodeHealth;
  /** So much time passes, while only these Nodes are heard. */
  pass(ms: number, ...heard: readonly string[]): Promise<void>;
  /** Nodes whose Instance was given up. */
  lost(): readonly string[];
  kinds(): readonly string[];
}

const NODES = ['a', 'b', 'c', 'd', 'e'] as const;

/** Five Nodes with an Instance each. */
async function withCluster(run: (cluster: Cluster) => Promise<void>): Promise<void> {
  const context = await createTestContext({ nodeGraceMs: 30_000 });
  try {
    await seedApp(context);
    for (const id of NODES) {
      await context.view.commit(
        create(nodeSpecRecords, aNode({ id, name: id })),
        put(nodeStatusRecords, {
          id,
          state: 'up',
          drivers: [],
          capacity: { cpu: 1, memoryBytes: 1e9 },
          platform: { os: 'linux', arch: 'x64', program: '0' },
          bootId: '',
          lastSeenMs: 0,
        }),
        create(instanceSpecRecords, anInstance({ id: `on-${id}`, nodeId: id })),
        put(instanceStatusRecords, aStatus({ id: `on-${id}`, nodeId: id })),
      );
    }
    const heardMs = new Map<string, number>();
    const heartbeats = { lastHeardMs: (id: string) => heardMs.get(id), lastSeenMs: () => null };
    const health = createNodeHealth(context, { heartbeats });
    await run({
      context,
      health,
      pass: async (ms, ...heard) => {
        for (let left = ms; left > 0; left -= 2000) {
          await context.clock.advance(Math.min(left, 2000));
          for (const id of heard) heardMs.set(id, context.clock.monotonic());
          await health.run(new AbortController().signal);
        }
      },
      lost: () => NODES.filter((id) => context.view.get(instanceStatusRecords, `on-${id}`)?.document.phase === 'lost'),
      kinds: () => context.events.map(({ kind }) => kind),
    });
  } finally {
    await context.close();
  }
}

test('two or more that are more than those that are heard are a mass loss', () => {
  assert.deepEqual(
    (
      [
        [1, 0],
        [1, 1],
        [2, 2],
        [2, 1],
        [2, 0],
        [3, 2],
        [50, 51],
        [51, 50],
      ] as const
    ).map(([silent, heard]) => isMassLoss(silent, heard)),
    [false, false, false, true, true, true, false, true],
  );
});

test('what most Nodes had is not moved when they fall silent together, and is when they stay the fewer', () =>
  withCluster(async ({ health, pass, lost, kinds }) => {
    await pass(10_000, ...NODES);
    await pass(120_000, 'a', 'b');
    assert.deepEqual([lost(), kinds()], [[], ['node.mass-loss', 'node.down', 'node.down', 'node.down']]);
    assert.match(health.held() ?? '', /^3 Nodes are silent at once and 2 are heard/u);
    await pass(4000, 'a', 'b', 'c');
    assert.deepEqual(lost(), ['d', 'e']);
    assert.equal(health.held(), null);
    assert.ok(kinds().includes('node.mass-loss-over'));
  }));

test('one after the other is no mass loss, as long as each had its time', () =>
  withCluster(async ({ context, pass, lost, kinds }) => {
    await pass(60_000, 'a', 'b', 'c', 'd');
    await pass(60_000, 'a', 'b', 'c');
    assert.deepEqual(lost(), ['d', 'e']);
    await pass(60_000, 'a', 'b');
    assert.deepEqual(lost(), ['d', 'e'], 'the third within ten minutes makes the silent the majority');
    assert.ok(kinds().includes('node.mass-loss'));
    await pass(600_000, 'a', 'b');
    assert.deepEqual(lost(), ['c', 'd', 'e'], 'the first two say nothing about now any more');
    await context.clock.advance(0);
  }));

test('Nodes that are taken out for good count no more, and the rest is moved', () =>
  withCluster(async ({ context, pass, lost }) => {
    await pass(10_000, ...NODES);
    await pass(60_000, 'a', 'b');
    assert.deepEqual(lost(), []);
    const stored = context.view.byName(nodeSpecRecords, 'c');
    assert.ok(stored !== undefined);
    await context.view.commit(remove(nodeSpecRecords, stored));
    await pass(2000, 'a', 'b');
    assert.deepEqual(lost(), ['d', 'e']);
  }));

test('a control that comes back to a silent majority waits too, however long ago they left', () =>
  withCluster(async ({ pass, lost }) => {
    await pass(200_000, 'a', 'b');
    assert.deepEqual(lost(), []);
  }));
