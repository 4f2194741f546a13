// Releases through their handlers: what they are made of is looked at before they exist.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { isFailure } from '../../lib/failure.ts';
import type { FailureCode } from '../../lib/failure.ts';
import type { BundleEntry } from '../../sys/bundle-scan.ts';
import { TAR_END, tarHeader } from '../../sys/bundle-tar.ts';
import { createPlatform, DIGEST } from '../deploys/deploys-fixture.ts';
import type { Platform } from '../deploys/deploys-fixture.ts';
import { callOf } from '../test-context.ts';
import { appRecords, releaseRecords } from './records.ts';

const MANIFEST = 'app: shop\nentrypoints: { web: { command: node server.js } }\n';

let platform: Platform;
beforeEach(async () => {
  platform = await createPlatform();
});
afterEach(() => platform.close());

const make = (manifest: string, bundle: string | null = DIGEST, recordId?: string) =>
  platform.apps.releases.create(
    callOf({
      params: { app: 'shop' },
      query: undefined,
      body: { manifest, bundle, label: 'abc', source: { kind: 'folder', description: '' } },
      ...(recordId === undefined ? {} : { recordId }),
    }),
  );

const refused = async (code: FailureCode, made: Promise<unknown>, message: RegExp): Promise<void> => {
  await assert.rejects(made, (error: unknown) => {
    assert.ok(isFailure(error, code), String(error));
    assert.match(error.message, message);
    return true;
  });
  const { view } = platform.context;
  assert.deepEqual([view.list(appRecords).length, view.list(releaseRecords).length], [0, 0], 'nothing was made');
};

const archive = (...entries: readonly BundleEntry[]): Uint8Array => Buffer.concat([...entries.map((entry) => tarHeader(entry)), TAR_END]);

test('the first Release makes its App; a repeat of the same request makes nothing new', async () => {
  const release = await make(MANIFEST, DIGEST, 'record-1');
  assert.deepEqual([release.number, release.state, release.artifact, release.label], [1, 'ready', DIGEST, 'abc']);
  assert.equal((await make(MANIFEST, DIGEST, 'record-1')).number, 1);
  assert.equal((await make(MANIFEST)).number, 2);
});

test('every error of the manifest is told at once, with its place', async () => {
  await assert.rejects(make('app: shop\nentrypoints:\n  web: { comand: x, instances: many }\n'), (error: unknown) => {
    assert.ok(isFailure(error, 'manifest_invalid'));
    const problems = error.details?.['problems'];
    assert.ok(Array.isArray(problems) && problems.length >= 2);
    return true;
  });
  await refused('manifest_invalid', make(MANIFEST.replace('shop', 'blog')), /blog.*shop/u);
});

test('a folder that is missing, damaged or hostile is refused', async () => {
  await refused('bundle_invalid', make(MANIFEST, null), /no folder was uploaded/u);
  await refused('not_found', make(MANIFEST, `sha256:${'f'.repeat(64)}`), /no uploaded folder/u);
  const hostile: readonly [Uint8Array, RegExp][] = [
    [Buffer.from('not an archive, but long enough to be looked at'.repeat(30)), /damaged/u],
    [archive({ kind: 'file', path: '/etc/passwd', sizeBytes: 0, executable: false }), /absolute/u],
    [archive({ kind: 'file', path: '../up', sizeBytes: 0, executable: false }), /leads out/u],
    [archive({ kind: 'link', path: 'way', target: '../../etc' }), /leads out/u],
  ];
  for (const [bytes, message] of hostile) {
    platform.archives.set(DIGEST, bytes);
    await refused('bundle_invalid', make(MANIFEST), message);
  }
});

test('an image needs no folder, a Dockerfile is to be built', async () => {
  const image = await make(MANIFEST.replace('entrypoints', 'build: { image: registry.example.com/shop:1 }\nentrypoints'), null);
  assert.deepEqual([image.state, image.artifact], ['ready', 'registry.example.com/shop:1']);
  const dockerfile = await make(MANIFEST.replace('entrypoints', 'build: { dockerfile: Dockerfile }\nentrypoints'));
  assert.deepEqual([dockerfile.state, dockerfile.artifact, dockerfile.reason], ['building', null, null]);
});
