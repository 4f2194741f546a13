import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeDifferences } from './differences.ts';
import { effectiveEntrypoints } from './effective.ts';
import { parseManifest } from './manifest.ts';

function differences(before: string, after: string): string[] {
  const [from, to] = [before, after].map((web) => {
    const { manifest, problems } = parseManifest(
      `app: shop\nentrypoints:\n  web:\n    command: x\n    ${web.replaceAll('\n', '\n    ')}\n`,
    );
    assert.deepEqual(problems, []);
    assert.ok(manifest !== null);
    return { entrypoints: effectiveEntrypoints(manifest, 'production'), env: {} };
  });
  assert.ok(from !== undefined && to !== undefined);
  return describeDifferences(from, to).map((each) => `${each.kind} ${each.path}: ${each.from ?? '-'} → ${each.to ?? '-'}`);
}

test('Routes are told one by one, by what they ask and in words', () => {
  assert.deepEqual(
    differences(
      'routes:\n  - path: /old\n  - { host: a.example, path: { exact: /in }, timeout: 5s }\n  - path: /same',
      'routes:\n  - path: /same\n  - { host: a.example, path: { exact: /in }, timeout: 7s }\n  - { path: /new, match: { methods: [GET] }, https: redirect }',
    ),
    [
      'remove entrypoints.web.routes: the default host, /old → -',
      'change entrypoints.web.routes: a.example = /in, timeout 5 s → a.example = /in, timeout 7 s',
      'add entrypoints.web.routes: - → the default host, /new (method GET), https only',
    ],
  );
  assert.deepEqual(differences('port: 80', 'port: 80'), []);
});

test('a changed password or page is told without showing it', () => {
  const [first, second] = ['A', 'B'].map((letter) => `$scrypt$ln=15,r=8,p=1$${letter.repeat(22)}$${letter.repeat(43)}`);
  assert.ok(first !== undefined && second !== undefined);
  const route = (hash: string): string => `routes:\n  - path: /admin\n    auth: { users: { ann: "${hash}" } }`;
  assert.deepEqual(differences(route(first), route(second)), [
    'change entrypoints.web.routes: the default host, /admin, password of 1 user → the default host, /admin, password of 1 user (changed)',
  ]);
  assert.deepEqual(differences('pages: { error: "<p>a</p>", denied: "<p>" }', 'pages: { error: "<p>b</p>", stopped: "<i>" }'), [
    'remove entrypoints.web.pages.denied: HTML, 3 characters → -',
    'add entrypoints.web.pages.stopped: - → HTML, 3 characters',
    'change entrypoints.web.pages.error: HTML, 8 characters → HTML, 8 characters (changed)',
  ]);
});
