import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DesiredInstance } from '../api/agent.ts';
import { containerPart } from './container-part.ts';
import { desiredInstance } from './testing.ts';

const part = (spec: Partial<DesiredInstance>): ReturnType<typeof containerPart> =>
  containerPart(
    desiredInstance(spec),
    { address: '127.0.0.1', port: 20_000, reachesServices: false },
    { work: '/w', home: '/h', tmp: '/t', volumes: new Map(), files: [], identity: '/i' },
  );

const options = { readOnly: true, capabilities: [], ulimits: {}, sysctls: {}, sharedMemoryBytes: null };
const host = { privileged: false, network: true, devices: [], folders: [] };

test('a program has its port inside, but in the network of the machine, where it is one of the machine’s', () => {
  assert.equal(part({ port: 80 })?.port, 80);
  assert.equal(part({})?.port, 20_000);
  assert.equal(part({ port: 80, container: { ...options, host } })?.port, 20_000);
});

test('what it asks of its container and what it was granted go with it', () => {
  const granted = [{ kind: 'network' as const }];
  const asking = part({ container: { ...options, host }, granted });
  assert.deepEqual([asking?.options, asking?.granted], [{ ...options, host }, granted]);
  const modest = part({});
  assert.deepEqual([modest?.options, modest?.granted], [undefined, undefined]);
});
