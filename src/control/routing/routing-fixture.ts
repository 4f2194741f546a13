// What tests of routing share: an Edge that follows the contract to the letter, and an Environment whose Instances come and go.

import assert from 'node:assert/strict';
import type { EdgeReport, RouteTable, TableMessage } from '../../api/dataplane.ts';
import { routeKey } from '../../model/route-match.ts';
import type { table } from '../../api/table.ts';
import type { InstanceSpec } from '../../model/documents.ts';
import { create, put, update } from '../../store/records.ts';
import { instanceStatusRecords } from '../cluster/records.ts';
import { instanceSpecRecords } from '../deploys/records.ts';
import type { StreamItem } from '../handler.ts';
import { aStatus, callOf, createTestContext, edgePrincipal } from '../test-context.ts';
import type { TestContext } from '../test-context.ts';
import { createRouting } from './routing.ts';
import type { Routing } from './routing.ts';

/** An Edge that follows by the contract: a delta must be the next in sequence. */
export interface FakeEdge {
  readonly table: () => RouteTable;
  readonly sequence: () => number;
  /** Takes what is on its way, at most so many messages. */
  catchUp(limit?: number): Promise<void>;
  report(draining?: Record<string, number>, ejected?: readonly string[]): Promise<void>;
  disconnect(): Promise<void>;
  readonly snapshots: () => number;
}

export async function connect(routing: Routing, context: TestContext, edgeId: string): Promise<FakeEdge> {
  const gone = new AbortController();
  const items = routing.handlers.dataplane.sync(
    callOf<typeof table.dataplane.sync>({
      params: {},
      query: { edge: edgeId },
      body: undefined,
      principal: edgePrincipal,
      signal: gone.signal,
    }),
  );
  const stream: AsyncIterator<StreamItem<TableMessage>> = items[Symbol.asyncIterator]();
  let sequence = 0;
  let snapshots = 0;
  const rules = new Map<string, RouteTable['rules'][number]>();
  const groups = new Map<string, RouteTable['groups'][number]>();
  const apply = (message: TableMessage): boolean => {
    if (message.type === 'ping' || message.type === 'taps') return false;
    if (message.type === 'snapshot') {
      snapshots += 1;
      groups.clear();
      for (const group of message.table.groups) groups.set(group.id, group);
      rules.clear();
      for (const rule of message.table.rules) rules.set(routeKey(rule), rule);
    } else {
      assert.equal(message.sequence, sequence + 1, 'a delta follows exactly the message before');
      for (const group of message.putGroups) groups.set(group.id, group);
      for (const id of message.removeGroups) groups.delete(id);
      for (const key of message.removeRules ?? []) rules.delete(key);
      for (const rule of message.putRules ?? []) rules.set(routeKey(rule), rule);
    }
    sequence = message.sequence;
    return true;
  };
  const first = await stream.next();
  assert.ok(first.done !== true && apply(first.value.data));
  return {
    table: () => ({
      rules: [...rules].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, rule]) => rule),
      groups: [...groups.values()].sort((a, b) => (a.id < b.id ? -1 : 1)),
    }),
    sequence: () => sequence,
    snapshots: () => snapshots,
    catchUp: async (limit = Number.POSITIVE_INFINITY) => {
      for (let taken = 0; taken < limit; taken += 1) {
        const next = stream.next();
        await context.clock.advance(3100);
        const item = await next;
        if (item.done === true || !apply(item.value.data)) return;
      }
    },
    report: async (draining = {}, ejected = []) => {
      const body: EdgeReport = { edgeId, sequence, draining, ejected };
      await routing.handlers.dataplane.report(
        callOf<typeof table.dataplane.report>({ params: {}, query: undefined, body, principal: edgePrincipal }),
      );
    },
    disconnect: async () => {
      gone.abort();
      await stream.return?.();
    },
  };
}

export async function withRouting(run: (routing: Routing, context: TestContext) => Promise<void>): Promise<void> {
  const context = await createTestContext();
  const routing = createRouting(context);
  try {
    await run(routing, context);
  } finally {
    routing.stop();
    await context.close();
  }
}

export async function addInstance(context: TestContext, spec: InstanceSpec): Promise<void> {
  await context.view.commit(create(instanceSpecRecords, spec), put(instanceStatusRecords, aStatus({ id: spec.id })));
}

export async function change(context: TestContext, id: string, next: Partial<InstanceSpec>): Promise<void> {
  const current = context.view.get(instanceSpecRecords, id);
  assert.ok(current);
  await context.view.commit(update(instanceSpecRecords, current, { ...current.document, ...next }));
}
