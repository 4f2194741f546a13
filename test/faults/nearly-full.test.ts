// Twenty Deployments at once through two control planes onto two Nodes that have room for some of them: no revision of the store ever gives
// away more than there is, and each Deployment is either placed or refused, with what is missing on each Node.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords } from '../../src/control/cluster/records.ts';
import { allCollections } from '../../src/control/collections.ts';
import { deploymentRecords, instanceSpecRecords } from '../../src/control/deploys/records.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { isFailure, messageOf } from '../../src/lib/failure.ts';
import { FINAL_DEPLOYMENT_PHASES, FINAL_INSTANCE_PHASES } from '../../src/model/documents.ts';
import { createEtcdClient } from '../../src/store/etcd-client.ts';
import { openEtcdStore } from '../../src/store/etcd.ts';
import { createView } from '../../src/store/view.ts';
import type { View } from '../../src/store/view.ts';
import { withPair } from '../fixtures/control-planes.ts';
import { until } from '../platform.ts';
import type { Platform } from '../platform.ts';
import { lacking } from '../requirements.ts';

const DEPLOYMENTS = 20;
const CPU = 0.3;

const manifest = (name: string): string => `app: ${name}
entrypoints:
  worker:
    command: sleep 100000
    resources: { cpu: ${CPU}, memory: 4Mi }
    rollout: { deadline: 15s }
    stop: { signal: SIGKILL }
`;

/** What is given away of each Node and what it has, in hundredths of a core, counted here and not as the platform counts. */
function given(view: View): readonly { readonly node: string; readonly cpu: number; readonly of: number }[] {
  return view.list(nodeSpecRecords).map(({ document: node }) => {
    let cpu = 0;
    for (const { document: spec } of view.list(instanceSpecRecords)) {
      const phase = view.get(instanceStatusRecords, spec.id)?.document.phase;
      if (spec.nodeId !== node.id || (phase !== undefined && FINAL_INSTANCE_PHASES.has(phase))) continue;
      const deployment = view.get(deploymentRecords, spec.deploymentId ?? '')?.document;
      cpu += Math.round((deployment?.entrypoints[spec.entrypoint]?.resources.cpu.request ?? 0) * 100);
    }
    return { node: node.name, cpu, of: Math.round((view.get(nodeStatusRecords, node.id)?.document.capacity.cpu ?? 0) * 100) };
  });
}

interface Outcome {
  readonly placed: boolean;
  /** Why it was not. */
  readonly reason: string;
}

async function deploy(platform: Platform, name: string, bundle: string): Promise<Outcome> {
  const client = platform.client();
  const params = { app: name, environment: 'production' };
  await client.apps.create({ body: { name }, idempotencyKey: `app-${name}` });
  const release = await client.releases.create({
    params,
    body: { manifest: manifest(name), bundle },
    idempotencyKey: `release-${name}`,
  });
  let number: number;
  try {
    const body = { cause: 'deploy', release: release.number } as const;
    ({ number } = await client.deployments.create({ params, body, idempotencyKey: `deployment-${name}` }));
  } catch (error) {
    if (!isFailure(error, 'no_capacity')) throw error;
    return { placed: false, reason: messageOf(error) };
  }
  const ended = await until(`${name} has ended`, 90_000, async () => {
    const found = await client.deployments.get({ params: { ...params, deployment: String(number) } });
    return FINAL_DEPLOYMENT_PHASES.has(found.phase) ? found : null;
  });
  return { placed: ended.phase === 'succeeded', reason: ended.reason?.message ?? ended.phase };
}

describe('a nearly full cluster', { skip: lacking('etcd') }, () => {
  test(`takes of ${DEPLOYMENTS} Deployments through both control planes what fits, and never more`, (t) =>
    withPair(async ({ first, second, endpoints }) => {
      const store = await openEtcdStore({ client: createEtcdClient(endpoints), prefix: 'libra' });
      const watching = createView({ store, collections: allCollections, clock: systemClock });
      await watching.start();
      const { view } = watching;
      let revisions = 0;
      const over: string[] = [];
      view.onChange((_changed, revision) => {
        revisions += 1;
        for (const { node, cpu, of } of given(view)) if (cpu > of) over.push(`revision ${revision}: ${cpu} of ${of} on ${node}`);
      });
      const room = given(view).reduce((sum, { of }) => sum + Math.floor(of / (CPU * 100)), 0);
      assert.ok(room > 0 && room < DEPLOYMENTS, `there is room for ${room}`);
      const bytes = new Uint8Array(1024);
      const digest = `sha256:${Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex')}`;
      await second.client().blobs.upload({ params: { digest }, query: { offset: 0, final: true }, body: bytes });
      const outcomes = await Promise.all(
        Array.from({ length: DEPLOYMENTS }, (_unused, index) => deploy(index % 2 === 0 ? first : second, `app-${index}`, digest)),
      );
      assert.deepEqual(over, []);
      const refused = outcomes.filter(({ placed }) => !placed);
      assert.equal(outcomes.length - refused.length, room, 'all of the room is used');
      for (const { reason } of refused) {
        for (const node of ['one', 'two']) assert.match(reason, new RegExp(`${node}.*cpu`, 'su'));
      }
      for (const { node, cpu, of } of given(view)) assert.ok(of - cpu < CPU * 100, `${node} is full: ${cpu} of ${of}`);
      t.diagnostic(
        `${outcomes.length - refused.length} placed, ${refused.length} refused, over none of ${revisions} revisions; such as: ${refused[0]?.reason}`,
      );
      await watching.stop();
      await store.close();
    }));
});
