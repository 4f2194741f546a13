import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createClient } from '../api/client.ts';
import { table } from '../api/table.ts';
import { openFileBlobs } from '../blob/files.ts';
import { systemClock } from '../lib/clock.ts';
import { isFailure } from '../lib/failure.ts';
import { systemRandom } from '../lib/id.ts';
import { createMemoryStore } from '../store/memory.ts';
import { create } from '../store/records.ts';
import type { Store } from '../store/store.ts';
import { createView } from '../store/view.ts';
import { silentLog } from '../sys/log.ts';
import { appRecords, releaseRecords } from './apps/records.ts';
import { allCollections } from './collections.ts';
import { createControl } from './control.ts';
import type { Control, ControlOptions } from './control.ts';
import { environmentRecords } from './deploys/records.ts';
import { anApp, anEnvironment, aRelease } from './test-context.ts';
import { TEST_SETTINGS } from './test-context.ts';

interface Machine {
  readonly folder: string;
  readonly store: Store;
  readonly shutdowns: unknown[];
  control(change?: Partial<ControlOptions>): Control;
}

async function withMachine(run: (machine: Machine) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-control-'));
  const store = createMemoryStore({ clock: systemClock });
  const blobs = await openFileBlobs({ folder: join(folder, 'blobs'), maxBytes: 1e6, clock: systemClock });
  const shutdowns: unknown[] = [];
  const control = (change: Partial<ControlOptions> = {}): Control =>
    createControl({
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      store,
      storeEngine: 'memory',
      blobs,
      settings: TEST_SETTINGS,
      masterKeyFile: join(folder, 'master.key'),
      ownerSecret: null,
      nodeName: 'My-Laptop.example.org',
      onShutdown: (options) => shutdowns.push(options),
      ...change,
    });
  try {
    await run({ folder, store, shutdowns, control });
  } finally {
    await blobs.close();
    await store.close();
    await rm(folder, { recursive: true });
  }
}

const listen = { host: '127.0.0.1', port: 0 };

test('a control starts with a Node for this machine, and a second start finds all of it again', { timeout: 20_000 }, () =>
  withMachine(async (machine) => {
    const control = machine.control();
    const first = await control.start(listen);
    const client = createClient(table, { url: first.url, token: first.ownerToken });
    const { items } = await client.nodes.list({});
    assert.deepEqual(
      items.map((node) => [node.id, node.name, node.runtime, node.state]),
      [[first.nodeId, 'my-laptop', 'default', 'unknown']],
    );
    assert.deepEqual(await client.system.health(), { status: 'ok' });
    await assert.rejects(client.system.ready(), (error) => isFailure(error, 'unavailable'));
    await control.stop();
    const again = machine.control({ ownerSecret: first.ownerToken, nodeName: 'renamed' });
    const second = await again.start(listen);
    assert.deepEqual(
      [second.nodeId, second.ownerToken, second.nodeToken, second.edgeToken],
      [first.nodeId, first.ownerToken, first.nodeToken, first.edgeToken],
    );
    assert.equal((await createClient(table, { url: second.url, token: second.ownerToken }).nodes.list({})).items.length, 1);
    await again.stop();
  }),
);

test('each credential opens its own part only', { timeout: 20_000 }, () =>
  withMachine(async (machine) => {
    const control = machine.control();
    const { url, ownerToken, nodeToken, edgeToken } = await control.start(listen);
    const as = (token: string) => createClient(table, { url, token });
    const first = async <T>(stream: AsyncIterable<T>): Promise<T | undefined> => {
      for await (const item of stream) return item;
      return undefined;
    };
    assert.equal((await first(as(nodeToken).agent.sync({})))?.type, 'peers');
    assert.equal((await first(as(edgeToken).dataplane.sync({ query: { edge: 'e' } })))?.type, 'snapshot');
    const refused = [first(as(ownerToken).agent.sync({})), first(as(edgeToken).agent.sync({})), as(nodeToken).apps.list({})];
    // All are listened to before any of them may fail.
    await Promise.all(refused.map((each) => assert.rejects(each, (error) => isFailure(error, 'forbidden'))));
    await control.stop();
  }),
);

test('a shutdown is answered, then handed on; metrics and status show what there is', { timeout: 20_000 }, () =>
  withMachine(async (machine) => {
    const control = machine.control();
    const { url, ownerToken } = await control.start(listen);
    const client = createClient(table, { url, token: ownerToken });
    assert.deepEqual(await client.system.shutdown({ body: { keepInstances: true } }), { stopping: true });
    assert.deepEqual(machine.shutdowns, [{ keepInstances: true }]);
    const status = await client.system.status();
    assert.ok(status.reconcilers.some((reconciler) => reconciler.name === 'node-health'));
    assert.equal(status.addresses['api'], url);
    const metrics = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${ownerToken}` } });
    assert.match(await metrics.text(), /^libra_nodes\{state="unknown"\} 1$/mu);
    assert.equal((await client.system.whoami()).kind, 'owner');
    await control.stop();
  }),
);

test('a master key that is not the one of the kept values stops the start, and nothing is left open', { timeout: 20_000 }, () =>
  withMachine(async (machine) => {
    const seeding = createView({ store: machine.store, collections: allCollections, clock: systemClock });
    await seeding.start();
    await seeding.view.commit(
      create(appRecords, anApp()),
      create(releaseRecords, aRelease()),
      create(environmentRecords, anEnvironment({ stableDeploymentId: null })),
    );
    await seeding.stop();
    const control = machine.control();
    const { url, ownerToken } = await control.start(listen);
    await createClient(table, { url, token: ownerToken }).env.set({
      params: { app: 'shop', environment: 'production' },
      body: { values: { A: 'secret' } },
    });
    await control.stop();
    await writeFile(join(machine.folder, 'master.key'), `${'ab'.repeat(32)}\n`, { mode: 0o600 });
    const wrong = machine.control();
    await assert.rejects(wrong.start(listen), (error) => isFailure(error, 'storage_failed') && /another master key/u.test(error.message));
    await wrong.stop();
  }),
);
