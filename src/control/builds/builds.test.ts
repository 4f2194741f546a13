// Builds: a Release becomes ready or failed, never neither; equal input is built once.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { createPlatform } from '../deploys/deploys-fixture.ts';
import type { Platform } from '../deploys/deploys-fixture.ts';
import { releaseRecords } from '../apps/records.ts';

const MANIFEST = 'app: shop\nbuild: { commands: [[npm, ci], [npm, run, build]] }\nentrypoints: { web: { command: node server.js } }\n';
const OUTPUT = `sha256:${'c'.repeat(64)}`;

let platform: Platform;
beforeEach(async () => {
  platform = await createPlatform();
  platform.blobs.set(OUTPUT, 20);
  platform.agent = (spec) =>
    spec.role === 'build'
      ? { phase: 'succeeded', healthy: false, output: { digest: OUTPUT, sizeBytes: 20 } }
      : { phase: 'running', healthy: true };
});
afterEach(() => platform.close());

const builds = () => platform.instances().filter(({ spec }) => spec.role === 'build');
const release = (number: number) => platform.context.view.list(releaseRecords).find(({ document }) => document.number === number)?.document;

test('a Deployment waits for its build, and runs what it made', async () => {
  await platform.deploy(MANIFEST);
  assert.equal((await platform.deployment(1)).phase, 'waiting');
  await platform.settle();
  assert.deepEqual(
    builds().map(({ spec }) => spec.commands),
    [
      [
        ['npm', 'ci'],
        ['npm', 'run', 'build'],
      ],
    ],
  );
  assert.deepEqual(release(1)?.artifact, { kind: 'bundle', digest: OUTPUT, sizeBytes: 20 });
  const done = await platform.deployment(1);
  assert.deepEqual([done.phase, done.steps[0]?.state], ['succeeded', 'done']);
});

test('equal input is built once, and anew where its result is gone or the commands differ', async () => {
  for (let count = 0; count < 2; count += 1) {
    await platform.deploy(MANIFEST);
    await platform.settle();
  }
  assert.equal(builds().length, 1);
  assert.equal(release(2)?.state, 'ready');
  await platform.deploy(MANIFEST.replace('npm, ci', 'npm, install'));
  await platform.settle();
  assert.equal(builds().length, 2);
  platform.blobs.delete(OUTPUT);
  await platform.deploy(MANIFEST);
  await platform.settle();
  assert.equal(builds().length, 3);
});

test('a failed build fails Release and Deployment with its last lines', async () => {
  const reason = { code: 'exited' as const, message: 'It ended with exit code 1.', hint: null, lastLines: ['npm ERR!'], instanceId: null };
  platform.agent = () => ({ phase: 'failed', healthy: false, reason });
  await platform.deploy(MANIFEST);
  await platform.settle();
  assert.deepEqual([release(1)?.state, release(1)?.reason?.code, release(1)?.reason?.lastLines], ['failed', 'build_failed', ['npm ERR!']]);
  const failed = await platform.deployment(1);
  assert.deepEqual([failed.phase, failed.reason?.lastLines, failed.steps[0]?.state], ['failed', ['npm ERR!'], 'failed']);
});

test('a build that does not end is stopped after 15 minutes', async () => {
  platform.agent = () => ({ phase: 'running', healthy: true });
  await platform.deploy(MANIFEST);
  await platform.settle();
  await platform.context.clock.advance(16 * 60_000);
  await platform.settle();
  assert.match(release(1)?.reason?.message ?? '', /15 minutes/u);
  assert.deepEqual(
    builds().map(({ spec }) => spec.desired),
    ['stop'],
  );
});

test('a build whose Node died is begun anew, three times at most', async () => {
  platform.agent = (spec) =>
    spec.role === 'build'
      ? { phase: spec.slot < 1 ? 'lost' : 'succeeded', healthy: false, output: { digest: OUTPUT, sizeBytes: 20 } }
      : { phase: 'running', healthy: true };
  await platform.deploy(MANIFEST);
  await platform.settle();
  assert.equal(release(1)?.state, 'ready');
  assert.equal(builds().length, 2);
  platform.agent = (spec) => (spec.role === 'build' ? { phase: 'lost', healthy: false } : { phase: 'running', healthy: true });
  await platform.deploy(MANIFEST.replace('npm, ci', 'npm, install'));
  await platform.settle();
  assert.equal(release(2)?.state, 'failed');
  assert.equal(builds().length, 5);
});
