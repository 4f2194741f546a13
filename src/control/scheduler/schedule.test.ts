// The scheduler: what no Plan may ever do, how it spreads, and what it says of what it cannot place.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { take } from './dimensions.ts';
import { capacityFor, schedule } from './schedule.ts';
import { aRequest, aRoom } from './scheduler-fixture.ts';
import type { NodeRoom, Plan, PlacementRequest } from './snapshot.ts';

const many = (count: number, change: Partial<PlacementRequest> = {}): readonly PlacementRequest[] =>
  Array.from({ length: count }, (_unused, index) => aRequest({ key: `web/${index}`, ...change }));

const nodeOf = (plan: Plan, key = 'web/0'): string | undefined => plan.placed.get(key)?.nodeId;
const countsOf = (plan: Plan): Readonly<Record<string, number>> => {
  const counts: Record<string, number> = {};
  for (const { nodeId } of plan.placed.values()) counts[nodeId] = (counts[nodeId] ?? 0) + 1;
  return counts;
};

const STRATEGIES = ['auto', 'fill', 'each', 'global', 'drained'] as const;
const rooms = fc
  .uniqueArray(
    fc.record({
      id: fc.integer({ min: 0, max: 30 }).map((number) => `node-${number}`),
      cpu: fc.constantFrom(0, 1, 1.5, 2, 4, 8),
      memoryBytes: fc.integer({ min: 0, max: 1000 }),
      label: fc.constantFrom('ssd', 'hdd'),
      closed: fc.constantFrom(null, null, null, 'it is cordoned'),
      overcommit: fc.constantFrom(1, 1, 2),
    }),
    { selector: (one) => one.id, maxLength: 8 },
  )
  .map((found): readonly NodeRoom[] =>
    found.map(({ id, cpu, memoryBytes, label, closed, overcommit }) =>
      aRoom({ id, capacity: { cpu, memoryBytes }, labels: { disk: label }, closed, overcommit: { cpu: overcommit, memory: overcommit } }),
    ),
  );
const requests = fc
  .array(
    fc.record({
      count: fc.integer({ min: 1, max: 8 }),
      cpu: fc.integer({ min: 1, max: 30 }).map((tenths) => tenths / 10),
      bind: fc.constantFrom(false, false, true),
      memoryBytes: fc.integer({ min: 1, max: 300 }),
      label: fc.constantFrom(null, 'ssd'),
      perNode: fc.integer({ min: 0, max: 3 }),
      port: fc.constantFrom(null, null, 9000),
      strategy: fc.constantFrom(...STRATEGIES),
    }),
    { maxLength: 5 },
  )
  .map((found): readonly PlacementRequest[] =>
    found.flatMap(({ count, cpu, bind, memoryBytes, label, perNode, port, strategy }, batch) =>
      Array.from({ length: count }, (_unused, index) =>
        aRequest({
          key: `${batch}/${index}`,
          deploymentKey: `d/${batch}`,
          ask: { cpu, bind, memoryBytes },
          labels: label === null ? {} : { disk: label },
          perNode,
          fixedPort: port,
          strategy,
        }),
      ),
    ),
  );

describe('every Plan', () => {
  test('keeps to the capacity, the cores of others, the labels, perNode and a fixed port of each Node, and answers every request', () => {
    fc.assert(
      fc.property(rooms, requests, (nodes, asked) => {
        const plan = schedule(nodes, asked);
        assert.equal(plan.placed.size + plan.unplaced.length, asked.length);
        for (const node of nodes) {
          const here = asked.filter((one) => nodeOf(plan, one.key) === node.id);
          if (here.length > 0) assert.equal(node.closed, null);
          const pieces = node.freePieces.map(() => 0);
          let shared = 0;
          for (const { key, ask } of here) {
            const cores = plan.placed.get(key)?.cores ?? null;
            assert.equal(cores !== null, ask.bind);
            if (cores === null) shared += ask.cpu;
            assert.equal(new Set(cores?.map(({ core }) => core)).size, cores?.length ?? 0);
            for (const { core, pieces: its } of cores ?? []) pieces[core] = (pieces[core] ?? 0) + its;
          }
          assert.ok(
            pieces.every((given) => given <= 100),
            pieces.join(' '),
          );
          const cpu = (node.capacity.cpu - pieces.filter((given) => given > 0).length) * node.overcommit.cpu;
          assert.ok(shared <= cpu + 1e-6, `${shared} of ${cpu} cores`);
          const memory = here.reduce((sum, one) => sum + one.ask.memoryBytes, 0);
          assert.ok(memory <= node.capacity.memoryBytes * node.overcommit.memory);
          assert.ok(here.filter((one) => one.fixedPort !== null).length <= 1);
          for (const one of here) {
            for (const [key, value] of Object.entries(one.labels)) assert.equal(node.labels[key], value);
            const alike = here.filter(({ deploymentKey }) => deploymentKey === one.deploymentKey);
            if (one.perNode > 0) assert.ok(alike.length <= one.perNode);
          }
        }
      }),
      { numRuns: 1_000 },
    );
  });

  test('is the same for equal snapshots, in whatever order the Nodes are listed', () => {
    fc.assert(
      fc.property(rooms, requests, (nodes, asked) => {
        assert.deepEqual(schedule(nodes, asked), schedule(nodes.toReversed(), asked));
      }),
      { numRuns: 500 },
    );
  });

  test('may be carried out in part: a new one says the rest of it', () => {
    fc.assert(
      fc.property(rooms, requests, fc.nat(10), (nodes, asked, done) => {
        const alike = asked.filter(
          ({ deploymentKey, strategy }) => deploymentKey === 'd/0' && (strategy === 'auto' || strategy === 'global'),
        );
        const whole = schedule(nodes, alike);
        const first = alike.slice(0, done);
        const after = nodes.map((node) =>
          first.reduce((room, one) => {
            if (nodeOf(whole, one.key) !== node.id) return room;
            const perDeployment = new Map(room.perDeployment).set(one.deploymentKey, (room.perDeployment.get(one.deploymentKey) ?? 0) + 1);
            const ports = one.fixedPort === null ? room.ports : new Set(room.ports).add(one.fixedPort);
            return { ...take(room, one.ask), perDeployment, ports };
          }, node),
        );
        const rest = schedule(after, alike.slice(done));
        for (const { key } of alike.slice(done)) assert.equal(nodeOf(rest, key), nodeOf(whole, key), key);
      }),
      { numRuns: 500 },
    );
  });

  test('places as many as fit one by one', () => {
    fc.assert(
      fc.property(rooms, requests, (nodes, asked) => {
        const [request] = asked;
        if (request === undefined) return;
        for (const [id, capacity] of capacityFor(nodes, request)) {
          const alone = nodes.filter((node) => node.id === id);
          const plan = schedule(
            alone,
            many(50, { ...request, strategy: 'auto' }).map((one, index) => ({ ...one, key: `x/${index}` })),
          );
          assert.equal(plan.placed.size, Math.min(capacity, 50));
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('strategies', () => {
  const three = [
    aRoom({ id: 'a', capacity: { cpu: 8, memoryBytes: 8000 } }),
    aRoom({ id: 'b', capacity: { cpu: 4, memoryBytes: 8000 }, used: { cpu: 1, memoryBytes: 0 } }),
    aRoom({ id: 'c', capacity: { cpu: 6, memoryBytes: 8000 } }),
  ];
  const spread = (strategy: PlacementRequest['strategy'], count: number, perNode = 0, nodes: readonly NodeRoom[] = three): string => {
    const plan = schedule(nodes, many(count, { strategy, perNode }));
    const counts = countsOf(plan);
    return `${['a', 'b', 'c'].map((id) => counts[id] ?? 0).join(' ')}${plan.unplaced.length === 0 ? '' : ` and ${plan.unplaced.length} nowhere`}`;
  };

  test('auto: evenly, and of equals the Node with the most room', () => {
    assert.equal(spread('auto', 1), '1 0 0');
    assert.equal(spread('auto', 5), '2 1 2');
    assert.equal(spread('auto', 20), '8 3 6 and 3 nowhere');
    assert.equal(spread('auto', 5, 1), '1 1 1 and 2 nowhere');
    const nodes = [
      aRoom({ id: 'a', used: { cpu: 3, memoryBytes: 0 } }),
      aRoom({ id: 'b', used: { cpu: 1, memoryBytes: 3900 } }),
      aRoom({ id: 'c', used: { cpu: 2, memoryBytes: 0 } }),
    ];
    assert.equal(spread('auto', 1, 0, nodes), '0 0 1');
  });

  test('global: to the Node that is the least used with it', () => {
    assert.equal(spread('global', 3), '2 0 1');
    assert.equal(spread('global', 20), '8 3 6 and 3 nowhere');
  });

  test('drained: the Node with the least room to its end first', () => {
    assert.equal(spread('drained', 4), '0 3 1');
    assert.equal(spread('drained', 20), '8 3 6 and 3 nowhere');
  });

  test('fill and each: so many on each Node, first where some are already', () => {
    assert.equal(spread('each', 4, 2), '2 0 2');
    assert.equal(spread('fill', 4, 2), '2 0 2');
    assert.equal(spread('each', 6, 4), '4 0 2', 'the last one gets the rest');
    const begun = three.map((node) => (node.id === 'b' ? { ...node, perDeployment: new Map([['d/web', 1]]) } : node));
    assert.equal(spread('fill', 3, 2, begun), '2 1 0');
    assert.equal(spread('each', 3, 2, begun), '2 1 0');
    assert.equal(spread('each', 8, 4), '4 0 4');
    const plan = schedule(three, many(12, { strategy: 'each', perNode: 4 }));
    assert.match(
      plan.unplaced[0]?.message ?? '',
      /a: has 4 already \(perNode\); b: has room for 3 of the 4 that each Node is to get; c: has 4/u,
    );
  });

  test('cores of their own are nobody else’s, and begun ones are used up first', () => {
    const nodes = [aRoom({ id: 'a', capacity: { cpu: 4, memoryBytes: 8000 }, used: { cpu: 1.2, memoryBytes: 0 } })];
    const plan = schedule(nodes, many(3, { ask: { cpu: 0.5, bind: true, memoryBytes: 1 } }));
    assert.deepEqual(
      [...plan.placed.values()].map(({ cores }) => cores),
      [[{ core: 0, pieces: 50 }], [{ core: 0, pieces: 50 }], [{ core: 1, pieces: 50 }]],
    );
    const whole = schedule(nodes, many(3, { ask: { cpu: 1, bind: true, memoryBytes: 1 } }));
    assert.equal(whole.placed.size, 2, 'those that share keep two cores');
    assert.match(whole.unplaced[0]?.message ?? '', /a: cores: 0 free of 4, 1 of its own asked/u);
  });
});

describe('near, apart and evenly', () => {
  const four = ['a', 'b', 'c', 'd'].map((id) => aRoom({ id, labels: id === 'd' ? {} : { zone: id === 'c' ? 'two' : 'one' } }));
  const batch = (name: string, count: number, change: Partial<PlacementRequest> = {}): readonly PlacementRequest[] =>
    Array.from({ length: count }, (_unused, index) =>
      aRequest({ key: `${name}/${index}`, deploymentKey: `d/${name}`, hostKey: `e/${name}`, ...change }),
    );
  const where = (plan: Plan, name: string): string =>
    [...plan.placed].flatMap(([key, { nodeId }]) => (key.startsWith(`${name}/`) ? [nodeId] : [])).join(' ');

  test('near: only where the other one is, which is placed first; what waits for each other is told', () => {
    const plan = schedule(four, [...batch('cache', 2, { near: ['e/db'] }), ...batch('db', 1, { near: ['e/disk'] }), ...batch('disk', 2)]);
    assert.equal(`${where(plan, 'disk')}, ${where(plan, 'db')}, ${where(plan, 'cache')}`, 'a b, a, a a');
    const both = schedule(four, [...batch('x', 1, { near: ['e/y'] }), ...batch('y', 1, { near: ['e/x'] })]);
    assert.equal(both.placed.size, 0);
    assert.match(both.unplaced[0]?.message ?? '', /a: has no y; b: has no y/u);
    assert.match(both.unplaced[0]?.hint ?? '', /near y/u);
  });

  test('apart: not where the other one is, whichever came first, nor two of a kind that is apart from itself', () => {
    const plan = schedule(four, [...batch('web', 2, { apart: ['e/batch'] }), ...batch('batch', 3)]);
    assert.equal(`${where(plan, 'web')}, ${where(plan, 'batch')}`, 'a b, c d c');
    const late = schedule(four, [...batch('batch', 3), ...batch('web', 2, { apart: ['e/batch'] })]);
    assert.equal(`${where(late, 'batch')}, ${where(late, 'web')}`, 'a b c, d d');
    const self = schedule(four, batch('db', 5, { apart: ['e/db'] }));
    assert.equal(where(self, 'db'), 'a b c d');
    assert.match(self.unplaced[0]?.message ?? '', /a: has db/u);
  });

  test('evenly over the values of a label, then by the strategy', () => {
    const plan = schedule(four, batch('web', 6, { spread: 'zone' }));
    assert.deepEqual(countsOf(plan), { d: 2, a: 1, c: 2, b: 1 });
    assert.equal(where(schedule(four, batch('web', 3, { spread: 'zone' })), 'web'), 'a d c');
    const begun = four.map((node) => (node.id === 'c' ? { ...node, perDeployment: new Map([['d/web', 2]]), closed: 'it is down' } : node));
    assert.deepEqual(countsOf(schedule(begun, batch('web', 4, { spread: 'zone' }))), { d: 2, a: 1, b: 1 });
  });
});

test('devices and the space of volumes are given once', () => {
  const nodes = [
    aRoom({ id: 'a', capacity: { cpu: 4, memoryBytes: 4000, volumeBytes: 3 * 2 ** 30, devices: { gpu: 2 } } }),
    aRoom({ id: 'b' }),
  ];
  const plan = schedule(nodes, many(3, { ask: { cpu: 0.1, bind: false, memoryBytes: 1, devices: { gpu: 1 } } }));
  assert.deepEqual(countsOf(plan), { a: 2 });
  assert.match(plan.unplaced[0]?.message ?? '', /a: gpu: 0 free of 2, 1 asked; b: gpu: 0 free of 0, 1 asked/u);
  const volumes = schedule([nodes[0] ?? aRoom()], many(3, { ask: { cpu: 0.1, bind: false, memoryBytes: 1, volumeBytes: 2 ** 31 } }));
  assert.deepEqual(countsOf(volumes), { a: 1 });
  assert.match(volumes.unplaced[0]?.message ?? '', /a: volumes: 1024Mi free of 3072Mi, 2048Mi asked/u);
  assert.equal(
    schedule([aRoom()], many(2, { ask: { cpu: 0.1, bind: false, memoryBytes: 1, volumeBytes: 2 ** 50 } })).placed.size,
    2,
    'not known',
  );
});

test('a slot with a volume goes to the Node that holds it, or nowhere', () => {
  const nodes = [aRoom({ id: 'a' }), aRoom({ id: 'b', used: { cpu: 2, memoryBytes: 0 } })];
  assert.equal(nodeOf(schedule(nodes, [aRequest({ stickyNodeId: 'b' })])), 'b');
  const gone = schedule(nodes, [aRequest({ stickyNodeId: 'gone' })]);
  assert.equal(gone.placed.size, 0);
  assert.match(gone.unplaced[0]?.hint ?? '', /volume/u);
});

test('containers of one fixed port stand side by side, and beside a process that has it', () => {
  const inside = aRequest({ fixedPort: 3000, driver: () => ({ ok: true, driver: 'docker', holdsPort: false }) });
  const process = aRequest({ fixedPort: 3000, deploymentKey: 'd/other', hostKey: 'e/other' });
  for (const asked of [
    [inside, { ...inside, key: 'web/1' }, { ...process, key: 'other/0' }],
    [{ ...process, key: 'a/0' }, inside, { ...inside, key: 'web/1' }],
  ])
    assert.equal(schedule([aRoom()], asked).placed.size, 3);
});

test('what finds no Node is told with the reason of each', () => {
  const nodes = [
    aRoom({ id: 'a', used: { cpu: 3.7, memoryBytes: 3950 } }),
    aRoom({ id: 'b', closed: 'it is down' }),
    aRoom({ id: 'c', drivers: [] }),
    aRoom({ id: 'd', used: { cpu: 8, memoryBytes: 0 }, overcommit: { cpu: 2, memory: 1 } }),
  ];
  const [unplaced] = schedule(nodes, [aRequest({ ask: { cpu: 0.5, bind: false, memoryBytes: 100 } })]).unplaced;
  assert.deepEqual(unplaced, {
    key: 'web/0',
    code: 'no_capacity',
    message:
      'No Node can take it (a: cpu: 0.3 free of 4, 0.5 asked, memory: 0Mi free of 0Mi, 0Mi asked; b: it is down; c: no driver; d: cpu: 0 free of 8, 0.5 asked).',
    hint: 'Ask for less in `resources`, scale something down, or add a Node.',
  });
  assert.equal(schedule([aRoom({ drivers: [] })], [aRequest()]).unplaced[0]?.code, 'unsupported');
  assert.match(schedule([], [aRequest()]).unplaced[0]?.message ?? '', /Runtime has no Node/u);
});
