// The agent over HTTP against the real control plane: desired state, reports, blobs and calls as they go over the wire.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { createClient } from '../api/client.ts';
import type { Client } from '../api/client.ts';
import { table } from '../api/table.ts';
import type { ApiTable } from '../api/table.ts';
import { openFileBlobs } from '../blob/files.ts';
import { createControl } from '../control/control.ts';
import { TEST_SETTINGS } from '../control/test-context.ts';
import { createFakeDriver } from '../driver/fake.ts';
import { systemClock } from '../lib/clock.ts';
import { isFailure } from '../lib/failure.ts';
import { systemRandom } from '../lib/id.ts';
import { createMemoryStore } from '../store/memory.ts';
import { packFolder } from '../sys/bundle-pack.ts';
import { until } from '../sys/keeper-fixture.ts';
import { silentLog } from '../sys/log.ts';
import { createAgent } from './agent.ts';
import { createHttpLink } from './http-link.ts';
import type { AgentLink } from './link.ts';

interface Platform {
  readonly folder: string;
  readonly link: AgentLink;
  readonly owner: Client<ApiTable>;
  /** What a test adds is closed before the platform. */
  readonly closeFirst: (close: () => Promise<void>) => void;
}

async function platform(context: TestContext): Promise<Platform> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-link-'));
  const store = createMemoryStore({ clock: systemClock });
  const blobs = await openFileBlobs({ folder: join(folder, 'blobs'), maxBytes: 1e8, clock: systemClock });
  const control = createControl({
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    store,
    storeEngine: 'memory',
    blobs,
    settings: { ...TEST_SETTINGS, bundleBytes: 1e8 },
    masterKeyFile: join(folder, 'master.key'),
    ownerSecret: null,
    nodeName: 'node-1',
    onShutdown: () => undefined,
  });
  const { url, ownerToken, nodeToken } = await control.start({ host: '127.0.0.1', port: 0 });
  const closes: (() => Promise<void>)[] = [];
  context.after(async () => {
    for (const close of closes) await close();
    await control.stop();
    await blobs.close();
    await store.close();
    await rm(folder, { recursive: true });
  });
  const link = createHttpLink({ client: createClient(table, { url, token: nodeToken }), url: () => url, token: () => nodeToken });
  return { folder, link, owner: createClient(table, { url, token: ownerToken }), closeFirst: (close) => closes.push(close) };
}

const never = new AbortController().signal;

test('a blob goes up, an upload that broke off goes on, and it comes down from any byte', async (context) => {
  const { folder, link, owner } = await platform(context);
  await mkdir(join(folder, 'source'));
  await writeFile(join(folder, 'source/a'), Buffer.alloc(3_000_000, 7));
  const packed = await packFolder(join(folder, 'source'));
  context.after(() => packed.remove());
  const bytes = await readFile(packed.path);
  await owner.blobs.upload({ params: { digest: packed.digest }, query: { final: false }, body: bytes.subarray(0, 1_000_000) });
  const starts: number[] = [];
  const open = (startByte: number): ReturnType<typeof packed.openStream> => {
    starts.push(startByte);
    return packed.openStream(startByte);
  };
  await link.uploadBlob(packed.digest, open, never);
  await link.uploadBlob(packed.digest, open, never);
  assert.deepEqual(starts, [1_000_000]);
  const chunks: Buffer[] = [];
  for await (const chunk of await link.fetchBlob(packed.digest, 2_000_000, never)) chunks.push(Buffer.from(chunk));
  assert.ok(Buffer.concat(chunks).equals(bytes.subarray(2_000_000)));
  const missing = `sha256:${'0'.repeat(64)}`;
  await assert.rejects(link.fetchBlob(missing, 0, never), (error) => isFailure(error, 'not_found'));
});

test('a Deployment becomes healthy Instances, and their output comes back over the sockets of calls', async (context) => {
  const { folder, link, owner, closeFirst } = await platform(context);
  await mkdir(join(folder, 'source'));
  await writeFile(join(folder, 'source/server.js'), '// played by the fake driver');
  const packed = await packFolder(join(folder, 'source'));
  await owner.blobs.upload({ params: { digest: packed.digest }, body: await readFile(packed.path) });
  await packed.remove();
  const driver = createFakeDriver({ clock: systemClock, script: () => ({ listens: true, lines: ['hello', '! world'] }) });
  const dataFolder = join(folder, 'node');
  await mkdir(dataFolder);
  const agent = createAgent({
    link,
    drivers: { fake: driver },
    dataFolder,
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    nodeName: 'node-1',
    program: '0.0.0',
    builtinPrograms: { static: [] },
  });
  await agent.start();
  closeFirst(async () => {
    await agent.stop({ stopInstances: true });
    await driver.close();
  });
  await until('the Node is up', async () => (await owner.nodes.list({})).items[0]?.state === 'up');

  const manifest = 'app: shop\nentrypoints:\n  web:\n    command: node server.js\n    instances: 2\n';
  const release = await owner.releases.create({
    params: { app: 'shop' },
    body: { manifest, bundle: packed.digest, source: { kind: 'folder', description: 'test' } },
  });
  const params = { app: 'shop', environment: 'production' };
  await owner.deployments.create({ params, body: { cause: 'deploy', release: release.number } });
  const list = async () => (await owner.instances.list({ params, query: {} })).items.filter((instance) => instance.healthy);
  await until('both Instances are healthy', async () => (await list()).length === 2);

  const lines: string[] = [];
  for await (const line of owner.instances.logs({ params, query: { tail: 10 } })) lines.push(`${line.stream} ${line.text}`);
  assert.deepEqual(await link.goneEnvironments(['no-such-environment'], never), ['no-such-environment']);
  assert.deepEqual(lines.toSorted(), ['stderr world', 'stderr world', 'stdout hello', 'stdout hello']);
});
