import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { RouteTable } from '../../api/dataplane.ts';
import { put, remove } from '../../store/records.ts';
import { instanceStatusRecords } from '../cluster/records.ts';
import { instanceSpecRecords } from '../deploys/records.ts';
import { anInstance, aStatus, seedApp } from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import { addInstance, change, connect, withRouting } from './routing-fixture.ts';
import type { FakeEdge } from './routing-fixture.ts';

const EDGES = ['one', 'two'];
const SLOTS = [0, 1, 2];
const idOf = (slot: number): string => `instance-${slot}`;

type Step =
  | { readonly kind: 'add' | 'drain' | 'undrain' | 'sick' | 'remove'; readonly slot: number }
  | { readonly kind: 'follow'; readonly edge: number; readonly messages: number }
  | { readonly kind: 'report'; readonly edge: number; readonly open: number }
  /** All but one take everything and say so. */
  | { readonly kind: 'settle'; readonly but: number; readonly open: number }
  | { readonly kind: 'reconnect'; readonly edge: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constantFrom('add', 'add', 'drain', 'drain', 'undrain', 'sick', 'remove'), slot: fc.nat(2) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('follow' as const), edge: fc.nat(1), messages: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('report' as const), edge: fc.nat(1), open: fc.nat(1) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('settle' as const), but: fc.nat(4), open: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('reconnect' as const), edge: fc.nat(1) }) },
);

/** What an Edge has last said: the table in force there, and which draining targets have open requests. null: nothing yet. */
interface Said {
  readonly table: RouteTable;
  readonly open: Readonly<Record<string, number>>;
}

const stateIn = (table: RouteTable, id: string): string =>
  table.groups.flatMap((group) => group.targets).find((target) => target.instanceId === id)?.state ?? 'absent';

async function apply(context: TestContext, taken: Extract<Step, { slot: number }>): Promise<void> {
  const id = idOf(taken.slot);
  const current = context.view.get(instanceSpecRecords, id);
  if (taken.kind === 'add') {
    if (current === undefined) await addInstance(context, anInstance({ id, slot: taken.slot }));
  } else if (current === undefined) return;
  else if (taken.kind === 'drain') await change(context, id, { draining: true, drainingSinceMs: 1 });
  else if (taken.kind === 'undrain') await change(context, id, { draining: false, drainingSinceMs: null });
  else if (taken.kind === 'sick') await context.view.commit(put(instanceStatusRecords, aStatus({ id, healthy: false })));
  else await context.view.commit(remove(instanceSpecRecords, current));
}

test('no answer of trafficState runs ahead of what every Edge has said, and all catch up in the end', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60, size: 'max' }), (steps) =>
      withRouting(async (routing, context) => {
        await seedApp(context);
        const edges: FakeEdge[] = [];
        const said: (Said | null)[] = [];
        for (const name of EDGES) {
          edges.push(await connect(routing, context, name));
          said.push(null);
        }
        const report = async (index: number, open: number): Promise<void> => {
          const edge = edges[index];
          assert.ok(edge);
          const table = edge.table();
          const counts = Object.fromEntries(SLOTS.map(idOf).flatMap((id) => (stateIn(table, id) === 'draining' ? [[id, open]] : [])));
          await edge.report(counts);
          said[index] = { table, open: counts };
        };
        const check = (): void => {
          const traffic = routing.trafficState();
          assert.equal(traffic.edges, EDGES.length);
          for (const id of SLOTS.map(idOf)) {
            if (context.view.get(instanceSpecRecords, id) === undefined) continue;
            if (traffic.inForce(id)) assert.ok(said.every((one) => one !== null && stateIn(one.table, id) === 'active'));
            if (traffic.drained(id)) {
              assert.ok(said.every((one) => one !== null && stateIn(one.table, id) !== 'active' && (one.open[id] ?? 0) === 0));
            }
          }
        };
        for (const taken of steps) {
          if (taken.kind === 'follow') await edges[taken.edge]?.catchUp(taken.messages);
          else if (taken.kind === 'report') await report(taken.edge, taken.open);
          else if (taken.kind === 'settle') {
            for (const index of edges.keys()) {
              if (index === taken.but) continue;
              await edges[index]?.catchUp();
              await report(index, taken.open);
            }
          } else if (taken.kind === 'reconnect') {
            await edges[taken.edge]?.disconnect();
            edges[taken.edge] = await connect(routing, context, EDGES[taken.edge] ?? '');
            said[taken.edge] = null;
          } else await apply(context, taken);
          check();
        }
        for (const index of edges.keys()) {
          await edges[index]?.catchUp();
          await report(index, 0);
        }
        const traffic = routing.trafficState();
        for (const id of SLOTS.map(idOf)) {
          const state = stateIn(edges[0]?.table() ?? { rules: [], groups: [] }, id);
          assert.deepEqual([traffic.inForce(id), traffic.drained(id)], [state === 'active', state !== 'active'], `${id} is ${state}`);
        }
        for (const edge of edges) await edge.disconnect();
      }),
    ),
    { numRuns: 150 },
  );
});

test('the table of a moment is everywhere when every connected Edge has said so, and not before', () =>
  withRouting(async (routing, context) => {
    await seedApp(context);
    assert.equal(await routing.everywhere(1000), true, 'nobody is connected');
    const [one, two] = [await connect(routing, context, 'one'), await connect(routing, context, 'two')];
    await addInstance(context, anInstance());
    let reached: boolean | null = null;
    const asked = routing.everywhere(60_000).then((is) => (reached = is));
    await one.catchUp();
    await one.report();
    await two.report();
    assert.equal(reached, null, 'the second has an older table');
    await two.catchUp();
    await two.report();
    assert.equal(await asked, true);
    await change(context, 'instance-1', { draining: true, drainingSinceMs: 1 });
    const late = routing.everywhere(1000);
    await context.clock.advance(1000);
    assert.equal(await late, false);
  }));
