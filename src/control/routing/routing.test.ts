import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { table } from '../../api/table.ts';
import { create, put, remove, update } from '../../store/records.ts';
import { appRecords } from '../apps/records.ts';
import { instanceStatusRecords, nodeStatusRecords } from '../cluster/records.ts';
import { deploymentRecords, environmentRecords, instanceSpecRecords } from '../deploys/records.ts';
import {
  aDeployment,
  anApp,
  anEntrypoint,
  anEnvironment,
  anInstance,
  aNodeStatus,
  aStatus,
  callOf,
  createTestContext,
  edgePrincipal,
  nodePrincipal,
  seedApp,
} from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import { addInstance, change, connect, withRouting } from './routing-fixture.ts';
import { createRouting } from './routing.ts';
import { createLiveTable } from './table.ts';

test('an Instance is in force when every connected Edge has it active, and drained when every one has it out and nothing open', () =>
  withRouting(async (routing, context) => {
    await seedApp(context);
    const [one, two] = [await connect(routing, context, 'one'), await connect(routing, context, 'two')];
    await addInstance(context, anInstance());
    assert.equal(routing.trafficState().inForce('instance-1'), false);
    await one.catchUp();
    await one.report();
    assert.equal(routing.trafficState().inForce('instance-1'), false);
    await two.catchUp();
    await two.report();
    assert.equal(routing.trafficState().inForce('instance-1'), true);
    assert.equal(routing.trafficState().drained('instance-1'), false);

    await change(context, 'instance-1', { draining: true, drainingSinceMs: context.clock.now(), generation: 2 });
    assert.equal(routing.trafficState().inForce('instance-1'), false);
    assert.equal(routing.trafficState().drained('instance-1'), false);
    await one.catchUp();
    await two.catchUp();
    await one.report({ 'instance-1': 2 });
    await two.report();
    assert.equal(routing.trafficState().drained('instance-1'), false);
    await one.report();
    assert.equal(routing.trafficState().drained('instance-1'), true);
  }));

test('right after the start an Edge that has not come back is not taken for none; later, without one, nothing waits', () =>
  withRouting(async (routing, context) => {
    await seedApp(context);
    await addInstance(context, anInstance());
    let woken = 0;
    routing.onTrafficChange(() => {
      woken += 1;
    });
    assert.deepEqual([routing.trafficState().inForce('instance-1'), routing.trafficState().drained('instance-1')], [false, false]);
    await context.clock.advance(5001);
    assert.ok(woken > 0, 'the end of the grace wakes');
    assert.equal(routing.trafficState().edges, 0);
    assert.deepEqual([routing.trafficState().inForce('instance-1'), routing.trafficState().drained('instance-1')], [true, true]);
  }));

test('an Edge that goes counts for ten seconds more, and one that comes back has acknowledged nothing', () =>
  withRouting(async (routing, context) => {
    await seedApp(context);
    await addInstance(context, anInstance());
    await context.clock.advance(6000);
    const edge = await connect(routing, context, 'one');
    await edge.report();
    assert.equal(routing.trafficState().inForce('instance-1'), true);
    // Its last report is long ago: a crash now must not make it look as if there were no Edge.
    await context.clock.advance(14_000);
    await edge.disconnect();
    assert.equal(routing.trafficState().edges, 1);
    const back = await connect(routing, context, 'one');
    assert.equal(routing.trafficState().inForce('instance-1'), false);
    await back.report();
    assert.equal(routing.trafficState().inForce('instance-1'), true);
    await back.disconnect();
    await context.clock.advance(10_001);
    assert.equal(routing.trafficState().edges, 0);
  }));

test('an Instance is left out where some connected Edge says so, for as long as that says it and is there', () =>
  withRouting(async (routing, context) => {
    const [one, two] = [await connect(routing, context, 'one'), await connect(routing, context, 'two')];
    const leftOut = (): boolean => routing.trafficState().leftOut('instance-1');
    assert.equal(leftOut(), false);
    await one.report({}, ['instance-1', 'another']);
    await two.report();
    assert.equal(leftOut(), true);
    await one.report();
    assert.equal(leftOut(), false);
    await two.report({}, ['instance-1']);
    await two.disconnect();
    await context.clock.advance(11_000);
    assert.equal(leftOut(), false);
  }));

test('an acknowledgement of a former control counts for nothing', async () => {
  const context = await createTestContext();
  await seedApp(context);
  await addInstance(context, anInstance());
  const before = createRouting(context);
  const old = await connect(before, context, 'one');
  before.stop();
  await context.clock.advance(20);
  const after = createRouting(context);
  const gone = new AbortController();
  const items = after.handlers.dataplane.sync(
    callOf<typeof table.dataplane.sync>({
      params: {},
      query: { edge: 'one' },
      body: undefined,
      principal: edgePrincipal,
      signal: gone.signal,
    }),
  );
  const stream = items[Symbol.asyncIterator]();
  const first = await stream.next();
  assert.ok(first.done !== true && first.value.data.type === 'snapshot' && first.value.data.sequence > old.sequence());
  const report = { edgeId: 'one', sequence: old.sequence(), draining: {}, ejected: [] };
  await after.handlers.dataplane.report(
    callOf<typeof table.dataplane.report>({ params: {}, query: undefined, body: report, principal: edgePrincipal }),
  );
  assert.equal(after.trafficState().inForce('instance-1'), false);
  gone.abort();
  await stream.return?.();
  after.stop();
  await context.close();
});

test('an Instance that does not listen never waits for an Edge', () =>
  withRouting(async (routing, context) => {
    await seedApp(context);
    await context.view.commit(
      create(
        deploymentRecords,
        aDeployment({ id: 'deployment-2', number: 2, entrypoints: { worker: anEntrypoint({ name: 'worker', listens: false }) } }),
      ),
    );
    await addInstance(context, anInstance({ id: 'worker-1', entrypoint: 'worker', deploymentId: 'deployment-2' }));
    const edge = await connect(routing, context, 'one');
    assert.deepEqual([routing.trafficState().inForce('worker-1'), routing.trafficState().drained('worker-1')], [true, true]);
    await edge.disconnect();
  }));

test('of two Environments that claim one route the older keeps it, and an event says so once', () =>
  withRouting(async (routing, context) => {
    await seedApp(context);
    const entrypoints = { web: anEntrypoint({ routes: [{ host: 'shop.localhost', path: '/', match: { headers: {} } }] }) };
    await context.view.commit(
      create(appRecords, anApp({ id: 'app-2', name: 'thief' })),
      create(
        environmentRecords,
        anEnvironment({ id: 'environment-2', appId: 'app-2', stableDeploymentId: 'deployment-9', createdAtMs: 5 }),
      ),
      create(deploymentRecords, aDeployment({ id: 'deployment-9', appId: 'app-2', environmentId: 'environment-2', entrypoints })),
    );
    assert.deepEqual(routing.routeOwner({ host: 'shop.localhost', path: '/', headers: {} }), {
      environmentId: 'environment-1',
      app: 'shop',
      environment: 'production',
    });
    assert.equal(routing.routeOwner({ host: 'other.localhost', path: '/', headers: {} }), null);
    const lost = await routing.environmentRoutes(
      callOf<typeof table.environments.routes>({ params: { app: 'thief', environment: 'production' }, query: undefined, body: undefined }),
    );
    assert.deepEqual(lost.items, []);
    assert.deepEqual(
      context.events.map((event) => event.kind),
      ['route.conflict'],
    );
  }));

test('the URL is that of the first Route of web, with the port where it is not the usual one', () =>
  withRouting(async (routing, context) => {
    await seedApp(context);
    assert.equal(routing.urlOf(anApp(), anEnvironment()), 'http://shop.localhost:8080');
    const none = anEnvironment({ name: 'staging', stableDeploymentId: null });
    assert.equal(routing.urlOf(anApp(), none), 'http://shop--staging.localhost:8080');
  }));

type Step =
  | { readonly kind: 'add' | 'drain' | 'remove' | 'sick'; readonly app: number; readonly slot: number }
  | { readonly kind: 'stop'; readonly app: number }
  | { readonly kind: 'follow' };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom('add', 'drain', 'remove', 'sick'), app: fc.nat(2), slot: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('stop' as const), app: fc.nat(2) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('follow' as const) }) },
);

async function apply(context: TestContext, taken: Step): Promise<void> {
  const { view } = context;
  if (taken.kind === 'follow') return;
  if (taken.kind === 'stop') {
    const current = view.get(environmentRecords, `environment-${taken.app}`);
    assert.ok(current);
    await view.commit(update(environmentRecords, current, { ...current.document, stopped: !current.document.stopped }));
    return;
  }
  const id = `instance-${taken.app}-${taken.slot}`;
  const current = view.get(instanceSpecRecords, id);
  if (taken.kind === 'add' && current === undefined) {
    await addInstance(
      context,
      anInstance({ id, appId: `app-${taken.app}`, environmentId: `environment-${taken.app}`, deploymentId: `deployment-${taken.app}` }),
    );
  } else if (taken.kind === 'drain' && current !== undefined) await change(context, id, { draining: true, drainingSinceMs: 5 });
  else if (taken.kind === 'remove' && current !== undefined) await view.commit(remove(instanceSpecRecords, current));
  else if (taken.kind === 'sick' && current !== undefined) await view.commit(put(instanceStatusRecords, aStatus({ id, healthy: false })));
}

test('whatever happens and however late an Edge follows, its table ends as a fresh snapshot has it', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), (steps) =>
      withRouting(async (routing, context) => {
        for (const n of [0, 1, 2]) {
          await context.view.commit(
            create(appRecords, anApp({ id: `app-${n}`, name: `shop-${n}` })),
            create(environmentRecords, anEnvironment({ id: `environment-${n}`, appId: `app-${n}`, stableDeploymentId: `deployment-${n}` })),
            create(deploymentRecords, aDeployment({ id: `deployment-${n}`, appId: `app-${n}`, environmentId: `environment-${n}` })),
          );
        }
        const edge = await connect(routing, context, 'following');
        for (const taken of steps) {
          await apply(context, taken);
          if (taken.kind === 'follow') await edge.catchUp();
        }
        await edge.catchUp();
        const fresh = await connect(routing, context, 'fresh');
        assert.deepEqual(edge.table(), fresh.table());
        assert.equal(edge.sequence(), fresh.sequence());
        assert.equal(edge.snapshots(), 1);
        await edge.disconnect();
        await fresh.disconnect();
      }),
    ),
    { numRuns: 30 },
  );
});

test('an Edge that is too far behind for deltas gets a new snapshot', () =>
  withRouting(async (routing, context) => {
    await seedApp(context);
    const edge = await connect(routing, context, 'slow');
    await addInstance(context, anInstance());
    for (let turn = 0; turn < 600; turn += 1) {
      await context.view.commit(put(instanceStatusRecords, aStatus({ healthy: turn % 2 === 0 })));
      routing.routeOwner({ host: 'any.localhost', path: '/', headers: {} });
    }
    await edge.catchUp();
    assert.equal(edge.snapshots(), 2);
    const fresh = await connect(routing, context, 'fresh');
    assert.deepEqual(edge.table(), fresh.table());
  }));

test('an Edge whose process has ended is not waited for', () =>
  withRouting(async (routing, context) => {
    await seedApp(context);
    const one = await connect(routing, context, 'local-0.11');
    const two = await connect(routing, context, 'local-1.12');
    await addInstance(context, anInstance({ id: 'i1' }));
    await one.catchUp(1);
    await one.report();
    assert.equal(routing.trafficState().inForce('i1'), false);
    await two.disconnect();
    assert.equal(routing.trafficState().inForce('i1'), false, 'it may come back');
    routing.edgeEnded('local-1.12');
    assert.equal(routing.trafficState().inForce('i1'), true);
    assert.equal(routing.trafficState().edges, 1);
    await one.disconnect();
  }));

test('targets are reached through the data port of their Node, as it is now', () =>
  withRouting(async (routing, context) => {
    await seedApp(context);
    const edge = await connect(routing, context, 'one');
    await addInstance(context, anInstance());
    await edge.catchUp();
    const via = (): unknown => edge.table().groups[0]?.targets.map((target) => [target.via, target.generation]);
    assert.deepEqual(via(), [[undefined, undefined]]);
    const node = (dataPort?: { readonly host: string; readonly port: number } | null): Promise<unknown> =>
      context.view.commit(put(nodeStatusRecords, aNodeStatus(dataPort === undefined ? {} : { dataPort })));
    await node({ host: '10.0.0.2', port: 7443 });
    await edge.catchUp();
    assert.deepEqual(via(), [[{ host: '10.0.0.2', port: 7443 }, 1]]);
    const sequence = edge.sequence();
    await node({ host: '10.0.0.2', port: 7443 });
    await edge.catchUp();
    assert.equal(edge.sequence(), sequence, 'a heartbeat changes nothing');
    await node({ host: '10.0.0.3', port: 7443 });
    await edge.catchUp();
    assert.deepEqual(via(), [[{ host: '10.0.0.3', port: 7443 }, 1]]);
    const fresh = await connect(routing, context, 'fresh');
    assert.deepEqual(edge.table(), fresh.table());
    await node(null);
    await edge.catchUp();
    assert.deepEqual(via(), [[undefined, undefined]]);
  }));

test('the key of TLS sessions is the same for all Edges, and another one twice a day', async () => {
  const context = await createTestContext();
  const live = createLiveTable(context);
  const { ticketKey = '' } = live.snapshot();
  assert.equal(Buffer.from(ticketKey, 'base64').length, 48);
  await context.clock.advance(11.5 * 3_600_000);
  assert.equal(live.snapshot().ticketKey, ticketKey);
  const before = live.sequence();
  await context.clock.advance(3_600_000);
  const delta = live.after(before);
  assert.ok(delta !== null && delta !== undefined);
  assert.notEqual(delta.ticketKey, ticketKey);
  assert.equal(delta.ticketKey, live.snapshot().ticketKey);
  live.stop();
  await context.close();
});

test('the API Proxy of a Node is told of groups and parties, and neither of Routes nor of keys', () =>
  withRouting(async (routing, context) => {
    await seedApp(context);
    const gone = new AbortController();
    const follow = routing.handlers.dataplane.sync(
      callOf<typeof table.dataplane.sync>({
        params: {},
        query: { edge: 'proxy' },
        body: undefined,
        principal: nodePrincipal,
        signal: gone.signal,
      }),
    );
    const stream = follow[Symbol.asyncIterator]();
    const first = await stream.next();
    const fresh = await connect(routing, context, 'edge');
    assert.ok(first.done !== true && first.value.data.type === 'snapshot');
    const { groups, rules, ...rest } = first.value.data.table;
    assert.deepEqual([groups, rules, rest], [fresh.table().groups, [], {}]);
    await addInstance(context, anInstance({ id: 'further' }));
    routing.trafficState().inForce('further');
    const second = await stream.next();
    assert.ok(second.done !== true && second.value.data.type === 'delta');
    assert.deepEqual(Object.keys(second.value.data).sort(), ['putGroups', 'removeGroups', 'sequence', 'type']);
    assert.equal(routing.edges().length, 1, 'it is no Edge');
    gone.abort();
    await stream.return?.();
    await fresh.disconnect();
  }));
