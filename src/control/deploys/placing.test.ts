import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext as Test } from 'node:test';
import { Failure, isFailure } from '../../lib/failure.ts';
import type { InstanceSpec, NodeSpec } from '../../model/documents.ts';
import { create, put, update } from '../../store/records.ts';
import type { Operation } from '../../store/collection.ts';
import type { View } from '../../store/view.ts';
import { nodeSpecRecords, nodeStatusRecords } from '../cluster/records.ts';
import type { ControlContext } from '../context.ts';
import { aNode, aNodeStatus, anInstance, createTestContext, seedApp } from '../test-context.ts';
import { place } from './placing.ts';
import type { Placing } from './placing.ts';
import { instanceSpecRecords } from './records.ts';
import { roomsOf } from './rooms.ts';

/** A view whose commits a test holds back, lets go, or answers with nothing. */
async function held(
  t: Test,
): Promise<{ readonly context: ControlContext; readonly sent: (() => Promise<number>)[]; readonly deaf: { now: boolean } }> {
  const context = await createTestContext();
  t.after(() => context.close());
  await seedApp(context);
  for (const id of ['n0', 'n1']) {
    await context.view.commit(create(nodeSpecRecords, aNode({ id, name: id })));
    await context.view.commit(put(nodeStatusRecords, aNodeStatus({ id })));
  }
  const sent: (() => Promise<number>)[] = [];
  const deaf = { now: false };
  const commit: View['commit'] = async (...operations: readonly Operation[]) => {
    if (!deaf.now) return await context.view.commit(...operations);
    sent.push(() => context.view.commit(...operations));
    throw new Failure('unavailable', { message: 'No answer came.' });
  };
  const view = new Proxy(context.view, { get: (target, name) => (name === 'commit' ? commit : Reflect.get(target, name)) });
  return { context: { ...context, view }, sent, deaf };
}

const counted = (view: View): number =>
  roomsOf(view, 'runtime-1').reduce((sum, room) => sum + [...room.perDeployment.values()].reduce((all, count) => all + count, 0), 0);
const placing = (spec: InstanceSpec): Placing => ({ placed: [spec], operations: [put(instanceSpecRecords, spec)] });
const one = (id: string): InstanceSpec => anInstance({ id, nodeId: 'n0', slot: 0 });

test('what is under way is counted by the next plan, and no longer than it is', async (t) => {
  const { context } = await held(t);
  const seen: number[] = [];
  const look = (spec: InstanceSpec) => () => {
    seen.push(counted(context.view));
    return placing(spec);
  };
  await Promise.all([place(context, look(one('a'))), place(context, look(one('b'))), place(context, look(one('c')))]);
  assert.deepEqual(seen, [0, 1, 2]);
  assert.equal(counted(context.view), 3);
});

test('a commit that was refused takes nothing', async (t) => {
  const { context } = await held(t);
  const node = context.view.get(nodeSpecRecords, 'n0');
  assert.ok(node !== undefined);
  await assert.rejects(
    place(context, () => {
      // Somebody cordons the Node at the same time.
      void context.view.commit(update<NodeSpec>(nodeSpecRecords, node, { ...node.document, scheduling: 'cordoned' }));
      return placing(one('a'));
    }),
    (error) => isFailure(error, 'conflict'),
  );
  assert.equal(counted(context.view), 0);
  await place(context, () => placing(anInstance({ id: 'b', nodeId: 'n1' })));
  assert.equal(counted(context.view), 1);
});

test('a commit whose answer was lost is reckoned with until it is seen or can never be done', async (t) => {
  for (const when of ['before', 'after', 'never'] as const) {
    const { context, sent, deaf } = await held(t);
    deaf.now = true;
    await assert.rejects(
      place(context, () => placing(one('a'))),
      (error) => isFailure(error, 'unavailable'),
    );
    assert.equal(counted(context.view), 1, 'it may have been done');
    // Nothing else is placed as long as that is not known.
    await assert.rejects(
      place(context, () => assert.fail('planned')),
      (error) => isFailure(error, 'unavailable'),
    );
    const [lost] = sent;
    assert.ok(lost !== undefined);
    if (when === 'before') await lost();
    deaf.now = false;
    const seen: number[] = [];
    await place(context, () => {
      seen.push(counted(context.view));
      return placing(one('b'));
    });
    assert.deepEqual(seen, [when === 'before' ? 1 : 0], when);
    // Whatever held it back lets it go at last.
    if (when === 'after') await assert.rejects(lost(), (error) => isFailure(error, 'conflict') || isFailure(error, 'exists'));
    assert.equal(counted(context.view), when === 'before' ? 2 : 1, when);
  }
});
