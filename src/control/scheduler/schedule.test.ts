// The scheduler: what no Plan may ever do, and how it spreads.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { schedule } from './schedule.ts';
import type { NodeRoom, PlacementRequest } from './snapshot.ts';

const aRoom = (change: Partial<NodeRoom> = {}): NodeRoom => ({
  id: 'node-1',
  name: 'node-1',
  labels: {},
  closed: null,
  drivers: [{ name: 'process', artifacts: ['bundle'], limits: { cpu: '', memory: '', user: '', disk: '' } }],
  capacity: { cpu: 4, memoryBytes: 4000 },
  used: { cpu: 0, memoryBytes: 0 },
  ports: new Set(),
  perDeployment: new Map(),
  perEntrypoint: new Map(),
  ...change,
});

const aRequest = (change: Partial<PlacementRequest> = {}): PlacementRequest => ({
  key: 'web/0',
  resources: { cpu: 1, memoryBytes: 100 },
  strategy: 'auto',
  labels: {},
  perNode: 0,
  deploymentKey: 'd/web',
  entrypointKey: 'e/web',
  stickyNodeId: null,
  fixedPort: null,
  driver: (drivers) => (drivers.length > 0 ? { ok: true, driver: 'process' } : { ok: false, message: 'no driver', hint: '' }),
  ...change,
});

const rooms = fc.uniqueArray(
  fc.record({
    id: fc.integer({ min: 0, max: 30 }).map((number) => `node-${number}`),
    cpu: fc.integer({ min: 0, max: 8 }),
    memoryBytes: fc.integer({ min: 0, max: 1000 }),
    label: fc.constantFrom('ssd', 'hdd'),
    closed: fc.constantFrom(null, null, null, 'it is cordoned'),
  }),
  { selector: (one) => one.id, maxLength: 8 },
);
const requests = fc.array(
  fc.record({
    cpu: fc.integer({ min: 1, max: 30 }).map((tenths) => tenths / 10),
    memoryBytes: fc.integer({ min: 1, max: 300 }),
    label: fc.constantFrom(null, 'ssd'),
    perNode: fc.integer({ min: 0, max: 3 }),
    port: fc.constantFrom(null, 9000),
  }),
  { maxLength: 30 },
);

const roomsOf = (
  found: readonly { id: string; cpu: number; memoryBytes: number; label: string; closed: string | null }[],
): readonly NodeRoom[] =>
  found.map(({ id, cpu, memoryBytes, label, closed }) =>
    aRoom({ id, name: id, capacity: { cpu, memoryBytes }, labels: { disk: label }, closed }),
  );

const requestsOf = (
  found: readonly { cpu: number; memoryBytes: number; label: string | null; perNode: number; port: number | null }[],
): readonly PlacementRequest[] =>
  found.map(({ cpu, memoryBytes, label, perNode, port }, index) =>
    aRequest({
      key: `web/${index}`,
      resources: { cpu, memoryBytes },
      labels: label === null ? {} : { disk: label },
      perNode,
      fixedPort: port,
    }),
  );

test('no Plan exceeds the capacity, the labels, perNode or a fixed port of a Node, and every request is answered', () => {
  fc.assert(
    fc.property(rooms, requests, (someRooms, someRequests) => {
      const nodes = roomsOf(someRooms);
      const asked = requestsOf(someRequests);
      const plan = schedule(nodes, asked);
      assert.equal(plan.placed.size + plan.unplaced.length, asked.length);
      for (const node of nodes) {
        const here = asked.filter((one) => plan.placed.get(one.key) === node.id);
        if (here.length > 0) assert.equal(node.closed, null);
        const cpu = here.reduce((sum, one) => sum + one.resources.cpu, 0);
        assert.ok(cpu <= node.capacity.cpu + 1e-6, `${cpu} of ${node.capacity.cpu} cores`);
        assert.ok(here.reduce((sum, one) => sum + one.resources.memoryBytes, 0) <= node.capacity.memoryBytes);
        assert.ok(here.filter((one) => one.fixedPort !== null).length <= 1);
        for (const [index, one] of here.entries()) {
          for (const [key, value] of Object.entries(one.labels)) assert.equal(node.labels[key], value);
          // Each was placed when fewer than its own bound were there.
          if (one.perNode > 0) assert.ok(index < one.perNode);
        }
      }
    }),
  );
});

test('equal snapshots give equal Plans, in whatever order the Nodes are listed', () => {
  fc.assert(
    fc.property(rooms, requests, (someRooms, someRequests) => {
      const nodes = roomsOf(someRooms);
      const asked = requestsOf(someRequests);
      assert.deepEqual([...schedule(nodes, asked).placed], [...schedule(nodes.toReversed(), asked).placed]);
    }),
  );
});

test('equal Nodes get numbers of Instances that differ by one at most', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 0, max: 40 }), (nodeCount, instances) => {
      const nodes = Array.from({ length: nodeCount }, (_unused, index) =>
        aRoom({ id: `node-${index}`, capacity: { cpu: 100, memoryBytes: 1e6 } }),
      );
      const asked = Array.from({ length: instances }, (_unused, index) => aRequest({ key: `web/${index}` }));
      const counts = nodes.map((node) => [...schedule(nodes, asked).placed.values()].filter((id) => id === node.id).length);
      assert.ok(Math.max(...counts) - Math.min(...counts) <= 1, counts.join(' '));
    }),
  );
});

test('of Nodes with equally many Instances the one that is asked for least is taken', () => {
  const nodes = [
    aRoom({ id: 'a', used: { cpu: 3, memoryBytes: 0 } }),
    aRoom({ id: 'b', used: { cpu: 1, memoryBytes: 3900 } }),
    aRoom({ id: 'c', used: { cpu: 2, memoryBytes: 0 } }),
  ];
  assert.equal(schedule(nodes, [aRequest()]).placed.get('web/0'), 'c');
});

test('a slot with a volume goes to the Node that holds it, or nowhere', () => {
  const nodes = [aRoom({ id: 'a' }), aRoom({ id: 'b', used: { cpu: 2, memoryBytes: 0 } })];
  assert.equal(schedule(nodes, [aRequest({ stickyNodeId: 'b' })]).placed.get('web/0'), 'b');
  const gone = schedule(nodes, [aRequest({ stickyNodeId: 'gone' })]);
  assert.equal(gone.placed.size, 0);
  assert.match(gone.unplaced[0]?.hint ?? '', /volume/u);
});

test('what finds no Node is told with the reason of each', () => {
  const nodes = [
    aRoom({ id: 'a', name: 'a', used: { cpu: 3.8, memoryBytes: 0 } }),
    aRoom({ id: 'b', name: 'b', closed: 'it is down' }),
    aRoom({ id: 'c', name: 'c', drivers: [] }),
  ];
  const [unplaced] = schedule(nodes, [aRequest()]).unplaced;
  assert.deepEqual(unplaced, {
    key: 'web/0',
    code: 'no_capacity',
    message: 'No Node can take it (a: 0.2 CPU free, 1 asked; b: it is down; c: no driver).',
    hint: 'Ask for less in `resources`, scale something down, or add a Node.',
  });
  assert.equal(schedule([aRoom({ drivers: [] })], [aRequest()]).unplaced[0]?.code, 'unsupported');
  assert.match(schedule([], [aRequest()]).unplaced[0]?.message ?? '', /Runtime has no Node/u);
});

test('a strategy that is not there yet is refused as unsupported', () => {
  for (const strategy of ['fill', 'each', 'global', 'drained'] as const) {
    assert.equal(schedule([aRoom()], [aRequest({ strategy })]).unplaced[0]?.code, 'unsupported');
  }
});
