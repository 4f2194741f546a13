// The guides against the code: every manifest in them is valid, the defaults they list are those of the model, every key and every
// runbook has its text, every link leads somewhere.

import assert from 'node:assert/strict';
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseManifest } from '../src/model/manifest.ts';
import { buildSection, entrypointSection, TOP_KEYS } from '../src/model/manifest-schema.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const manifest = read('docs/guide/manifest.md');
const yamlOf = (text: string): readonly string[] => [...text.matchAll(/^```yaml\n(.*?)^```$/gmsu)].map((match) => match[1] ?? '');

describe('the guides', () => {
  for (const path of globSync('docs/guide/*.md', { cwd: root })) {
    for (const [index, text] of yamlOf(read(path)).entries()) {
      test(`manifest ${index + 1} of ${path} is valid`, () => {
        assert.deepEqual(parseManifest(text, path).problems, []);
      });
    }
  }

  test('list the defaults that hold', () => {
    const [smallest = '', writtenOut = ''] = yamlOf(manifest);
    assert.deepEqual(parseManifest(writtenOut).manifest, parseManifest(smallest).manifest);
    const leftOut = Object.keys(entrypointSection.shape).filter((key) => !new RegExp(`^    ${key}:`, 'mu').test(writtenOut));
    // What has no default that could be written: it is absent, or belongs to another kind of Entrypoint.
    assert.deepEqual(leftOut.sort(), [
      'container',
      'disconnect',
      'image',
      'missed',
      'overlap',
      'pages',
      'port',
      'routes',
      'schedule',
      'timezone',
    ]);
  });

  test('name every key of the manifest', () => {
    for (const key of [...TOP_KEYS, ...Object.keys(buildSection.shape), ...Object.keys(entrypointSection.shape)])
      assert.ok(manifest.includes(`\`${key}\``), key);
  });

  test('have a page for every runbook that an event names, and no other', () => {
    const named = new Set<string>();
    for (const path of globSync('src/**/*.ts', { cwd: root })) {
      if (path.endsWith('.test.ts')) continue;
      for (const [, name] of read(path).matchAll(/\brunbook: '([a-z-]+)'/gu)) if (name !== undefined) named.add(`${name}.md`);
    }
    assert.deepEqual(readdirSync(join(root, 'docs/runbooks')).sort(), [...named].sort());
  });

  test('link only to what is there', () => {
    const pages = [...globSync('docs/**/*.md', { cwd: root }), ...globSync('*.md', { cwd: root })];
    assert.ok(pages.length > 10);
    for (const page of pages) {
      for (const [, target = ''] of read(page).matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/gu)) {
        if (/^[a-z]+:/u.test(target)) continue;
        assert.ok(existsSync(join(root, dirname(page), target)), `${page}: ${target}`);
      }
    }
  });
});
