import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DriverInfo, NodeStatus } from '../../model/documents.ts';
import { create } from '../../store/records.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { aDeployment, anApp, anEntrypoint, anInstance, aNode, aRelease, createTestContext } from '../test-context.ts';
import { requestOf, roomOf } from './placement.ts';
import { deploymentRecords, instanceSpecRecords } from './records.ts';

const limits = { cpu: '', memory: '', user: '', disk: '' };
const PROCESS: DriverInfo = { name: 'process', artifacts: ['bundle'], limits };
const DOCKER: DriverInfo = { name: 'docker', artifacts: ['image', 'bundle'], limits };

const status = (...drivers: readonly DriverInfo[]): NodeStatus => ({
  id: 'node-1',
  state: 'up',
  drivers,
  capacity: { cpu: 4, memoryBytes: 1e9 },
  platform: { os: 'linux', arch: 'x64', program: '0' },
  bootId: '',
  lastSeenMs: 0,
});

test('the fixed port of a process is held on its Node, that of a container is not', async (t) => {
  const context = await createTestContext();
  t.after(() => context.close());
  const { view } = context;
  const web = anEntrypoint({ port: 3000 });
  const admin = anEntrypoint({ name: 'admin', image: 'registry.example.com/admin:1', port: 4000 });
  await view.commit(
    create(appRecords, anApp()),
    create(releaseRecords, aRelease()),
    create(deploymentRecords, aDeployment({ entrypoints: { web, admin } })),
    create(instanceSpecRecords, anInstance({ id: 'one' })),
    create(instanceSpecRecords, anInstance({ id: 'two', entrypoint: 'admin' })),
  );
  const held = (found: NodeStatus | null): readonly number[] => [...roomOf(view, aNode(), found).ports].toSorted((a, b) => a - b);
  assert.deepEqual(held(status(PROCESS, DOCKER)), [3000]);
  assert.deepEqual(held(null), [3000, 4000], 'nothing is known of the Node');
});

test('a one-off finds room beside an Entrypoint that fills its Nodes', () => {
  const web = anEntrypoint({ placement: { strategy: 'fill', perNode: 1, labels: { zone: 'a' } } });
  const keys = { key: 'k', deploymentId: 'd', environmentId: 'e', stickyNodeId: null };
  const asked = (oneOff: boolean) => requestOf(web, { kind: 'none', base: null }, { ...keys, oneOff });
  assert.deepEqual([asked(false).strategy, asked(false).perNode], ['fill', 1]);
  assert.deepEqual([asked(true).strategy, asked(true).perNode, asked(true).labels], ['auto', 0, { zone: 'a' }]);
});
