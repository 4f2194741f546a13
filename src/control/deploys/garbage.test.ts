// What may be taken away, and above all what may not.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { createBlobCare } from '../apps/blob-care.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import type { AnyCollection, Collection } from '../../store/collection.ts';
import { callOf } from '../test-context.ts';
import { createPlatform, DIGEST, WHERE } from './deploys-fixture.ts';
import type { Platform } from './deploys-fixture.ts';
import { deploymentRecords, deploymentStatusRecords, environmentRecords, instanceSpecRecords } from './records.ts';

const MANIFEST = 'app: shop\nentrypoints: { web: { command: node server.js } }\n';
const RETAIN_MS = 60_000;

let platform: Platform;
beforeEach(async () => {
  platform = await createPlatform({ retainEndedMs: RETAIN_MS, retainReleases: 3 });
});
afterEach(() => platform.close());

const countOf = (records: AnyCollection): number => platform.context.view.list(records as Collection<{ readonly id: string }>).length; // only counted

const later = async (): Promise<void> => {
  await platform.context.clock.advance(RETAIN_MS * 11);
  await platform.pass('garbage');
  await createBlobCare(platform.context, { blobs: platform.context.blobs }).run(new AbortController().signal);
};

test('ended Instances go after their time but for the last ones, live ones stay', async () => {
  for (let count = 0; count < 8; count += 1) {
    await platform.deploy(MANIFEST);
    await platform.settle();
  }
  assert.equal(platform.instances().length, 8);
  await platform.pass('garbage');
  assert.equal(platform.instances().length, 8, 'their time is not over');
  await later();
  const left = platform.instances().map(({ spec }) => spec.desired);
  assert.deepEqual(left.filter((desired) => desired === 'run').length, 1);
  assert.equal(left.length, 4);
});

test('Deployments to roll back to stay with their Releases and blobs; the rest goes', async () => {
  for (let count = 0; count < 16; count += 1) {
    await platform.deploy(MANIFEST);
    await platform.settle();
  }
  platform.blobs.set(`sha256:${'b'.repeat(64)}`, 5);
  await later();
  await later();
  const { view } = platform.context;
  const deployments = view.list(deploymentRecords).map(({ document }) => document.number);
  assert.ok(deployments.length >= 10 && deployments.length < 16, deployments.join(' '));
  assert.ok(deployments.includes(16));
  assert.equal(view.list(deploymentStatusRecords).length, deployments.length);
  for (const { document } of view.list(deploymentRecords)) assert.ok(view.get(releaseRecords, document.releaseId) !== undefined);
  assert.equal(view.list(releaseRecords).length, deployments.length);
  assert.deepEqual([...platform.blobs.keys()], [DIGEST]);
});

test('a deleted Environment stops, then everything of it goes, and its name is free again', async () => {
  await platform.deploy(MANIFEST);
  await platform.settle();
  const deleting = await platform.deploys.environments.delete(callOf({ params: WHERE, query: { confirm: 'production' }, body: undefined }));
  assert.equal(deleting.state, 'deleting');
  await platform.pass('garbage');
  assert.equal(platform.context.view.list(environmentRecords).length, 1, 'something of it still runs');
  await platform.settle();
  await platform.pass('garbage');
  const { view } = platform.context;
  const counts = [environmentRecords, deploymentRecords, deploymentStatusRecords, instanceSpecRecords].map((one) => countOf(one));
  assert.deepEqual(counts, [0, 0, 0, 0]);
  assert.equal(view.list(appRecords).length, 1);
  await platform.deploy(MANIFEST);
  await platform.settle();
  assert.equal((await platform.deployment(1)).phase, 'succeeded');
});

test('a deleted App goes with its Environments, Releases and builds', async () => {
  await platform.deploy(MANIFEST);
  await platform.settle();
  await platform.apps.apps.delete(callOf({ params: { app: 'shop' }, query: { confirm: 'shop' }, body: undefined }));
  await platform.settle();
  await platform.pass('garbage');
  const counts = [appRecords, releaseRecords, environmentRecords, deploymentRecords, instanceSpecRecords].map((one) => countOf(one));
  assert.deepEqual(counts, [0, 0, 0, 0, 0]);
});
