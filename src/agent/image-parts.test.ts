import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, test } from 'node:test';
import { isFailure } from '../lib/failure.ts';
import { packFolder } from '../sys/bundle-pack.ts';
import { takeApart } from './image-parts.ts';
import type { ImageParts } from './image-parts.ts';

let base = '';
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'libra-image-'));
  mkdirSync(join(base, 'temp'));
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const sha256 = (content: string): string => createHash('sha256').update(content).digest('hex');

/** A tar of these files; `→ target` is a link. */
async function taken(files: Readonly<Record<string, string>>): Promise<ImageParts> {
  const folder = join(base, 'saved');
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    if (content.startsWith('→ ')) symlinkSync(content.slice(2), join(folder, path));
    else writeFileSync(join(folder, path), content);
  }
  const packed = await packFolder(folder, { ignoreFiles: [], alwaysIgnore: [] });
  try {
    return await takeApart(packed.openStream(), join(base, 'temp'), new AbortController().signal);
  } finally {
    await packed.remove();
  }
}

const layers = ['the base', 'the program', 'the base'];
const described = (mediaType: string, content: string): object => ({
  mediaType,
  digest: `sha256:${sha256(content)}`,
  size: content.length,
});

for (const [generation, files, paths] of [
  [
    'of folders and links',
    {
      'cfg.json': '{"a":1}',
      'aa/layer.tar': layers[0] ?? '',
      'bb/layer.tar': layers[1] ?? '',
      'cc/layer.tar': '→ ../aa/layer.tar',
      'aa/VERSION': '1.0',
    },
    { Config: 'cfg.json', Layers: ['aa/layer.tar', 'bb/layer.tar', 'cc/layer.tar'] },
  ],
  [
    'of blobs by digest',
    {
      [`blobs/sha256/${sha256('{"a":1}')}`]: '{"a":1}',
      [`blobs/sha256/${sha256('the base')}`]: 'the base',
      [`blobs/sha256/${sha256('the program')}`]: 'the program',
      'oci-layout': '{"imageLayoutVersion":"1.0.0"}',
    },
    { Config: `blobs/sha256/${sha256('{"a":1}')}`, Layers: layers.map((layer) => `blobs/sha256/${sha256(layer)}`) },
  ],
] as const)
  test(`a saved image ${generation} becomes a manifest, and each part once`, async () => {
    const image = await taken({ ...files, 'manifest.json': JSON.stringify([{ ...paths, RepoTags: ['x:1'] }]) });
    const manifest = await text(image.manifest.openStream(0));
    assert.equal(image.manifest.digest, `sha256:${sha256(manifest)}`);
    assert.deepEqual(JSON.parse(manifest), {
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: described('application/vnd.oci.image.config.v1+json', '{"a":1}'),
      layers: layers.map((layer) => described('application/vnd.oci.image.layer.v1.tar', layer)),
    });
    const parts = await Promise.all(image.parts.map(async ({ digest, openStream }) => [digest, await text(openStream(0))]));
    assert.deepEqual(
      parts,
      ['{"a":1}', 'the base', 'the program'].map((content) => [`sha256:${sha256(content)}`, content]),
    );
    assert.equal(await text(image.parts[1]?.openStream(4) ?? image.manifest.openStream(0)), 'base');
    await image.remove();
    assert.deepEqual(readdirSync(join(base, 'temp')), []);
  });

test('what lacks a part, or is none, is refused, and nothing of it stays', async () => {
  const layer = { Config: 'cfg.json', Layers: ['gone/layer.tar'] };
  for (const manifest of [JSON.stringify([layer]), '[]', '{}', 'no json', JSON.stringify([{ Config: 1, Layers: [] }]), null]) {
    await assert.rejects(
      taken({ 'cfg.json': '{}', ...(manifest === null ? {} : { 'manifest.json': manifest }) }),
      (error) => isFailure(error, 'build_failed') && /cannot be taken apart/u.test(error.message),
    );
    rmSync(join(base, 'saved'), { recursive: true });
    assert.deepEqual(readdirSync(join(base, 'temp')), []);
  }
});
