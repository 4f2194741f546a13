import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_ABORT } from './canary.ts';
import { formatProblem, parseManifest } from './manifest.ts';

const read = (rollout: string) =>
  parseManifest(`app: shop\nentrypoints: { web: { command: node a.js } }\nrollout:\n  canary: ${rollout}\n`);

test('a manifest without it has no canary, one with it has every default filled in', () => {
  assert.equal(parseManifest('app: shop\nentrypoints: { web: { command: node a.js } }\n').manifest?.canary, null);
  assert.deepEqual(read('{ steps: [10%] }').manifest?.canary, {
    steps: [{ percent: 10, holdMs: null }],
    rules: [],
    sticky: null,
    abortOn: DEFAULT_ABORT,
    keepMs: 0,
  });
  assert.deepEqual(read('{ steps: [0%] }').manifest?.canary?.keepMs, 600_000);
  const full = read(
    '{ steps: [5%:2m, 50%:5m], match: [header:X-Beta=1, cookie:beta], sticky: cookie, keep: 1m, abortOn: { errorRate: 1%, latency: 1.5, requests: 100 } }',
  );
  assert.deepEqual(full.manifest?.canary, {
    steps: [
      { percent: 5, holdMs: 120_000 },
      { percent: 50, holdMs: 300_000 },
    ],
    rules: [
      { kind: 'header', name: 'x-beta', value: '1' },
      { kind: 'cookie', name: 'beta', value: null },
    ],
    sticky: { kind: 'cookie', name: null },
    abortOn: { errorRate: 0.01, latency: 1.5, requests: 100 },
    keepMs: 60_000,
  });
  assert.equal(read('{ steps: [10%], abortOn: false }').manifest?.canary?.abortOn, null);
});

test('what is wrong is told with its place', () => {
  for (const [text, problem] of [
    ['{ steps: [10] }', /rollout\.canary\.steps\.0: expected a share with its time/u],
    ['{ steps: [] }', /rollout\.canary\.steps: at least one/u],
    ['{ steps: [50%:1m, 10%] }', /shares must grow/u],
    ['{}', /rollout\.canary\.steps: /u],
    ['{ steps: [10%], match: [x-beta] }', /rollout\.canary\.match\.0: expected header:NAME/u],
    ['{ steps: [10%], stick: cookie }', /did you mean sticky/u],
    ['{ steps: [10%], abortOn: true }', /expected false, or a mapping/u],
    ['{ steps: [10%], abortOn: { errorRate: 0.5 } }', /expected a share such as 2%/u],
  ] as const) {
    const { manifest, problems } = read(text);
    assert.equal(manifest, null);
    assert.match(problems.map(formatProblem).join('\n'), problem, text);
    assert.match(problems.map(formatProblem).join('\n'), /:4:\d+: /u);
  }
});
