import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { table } from '../api/table.ts';
import type { NodeStatus } from '../model/documents.ts';
import { create, put } from '../store/records.ts';
import { nodeSpecRecords, nodeStatusRecords } from './cluster/records.ts';
import { createSystem } from './system.ts';
import { aNode, callOf, createTestContext } from './test-context.ts';

test('machines whose version is too far from that of control are told, neighbours are not', async (t) => {
  const context = await createTestContext();
  t.after(() => context.close());
  const settings = { ...context.settings, version: '1.5.2' };
  const plane = { id: 'p', name: 'two', url: null, version: '1.7.0', leads: true, startedAtMs: 0 };
  const system = createSystem(
    { ...context, settings },
    {
      storeEngine: 'memory',
      startedAtMs: 0,
      leads: true,
      planes: () => [plane],
      addresses: () => ({}),
      edges: () => [],
      reconcilers: () => [],
      warnings: () => [],
      missing: () => null,
      shutdown: () => undefined,
    },
  );
  const status = (id: string, program: string): NodeStatus => ({
    id,
    state: 'up',
    drivers: [],
    capacity: { cpu: 1, memoryBytes: 1 },
    platform: { os: 'linux', arch: 'x64', program },
    bootId: '',
    lastSeenMs: 0,
  });
  for (const [id, program] of [
    ['old', '1.3.0'],
    ['near', '1.4.9'],
    ['next', '1.6.0'],
  ] as const)
    await context.view.commit(create(nodeSpecRecords, aNode({ id, name: id })), put(nodeStatusRecords, status(id, program)));
  const { warnings } = await system.status(callOf<typeof table.system.status>({ params: {}, query: undefined, body: undefined }));
  assert.deepEqual(
    warnings.map((warning) => /^(.*?),/u.exec(warning)?.[1]),
    ['Node old runs Libra 1.3.0', 'The control plane two runs Libra 1.7.0'],
  );
});
