import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeDifferences } from './differences.ts';
import { formatProblem, parseManifest } from './manifest.ts';
import type { EntrypointSpec } from './manifest-types.ts';
import { DEFAULT_TRAFFIC } from './traffic-policy.ts';
import type { TrafficPolicy } from './traffic-policy.ts';

const file = (traffic: string): string => `app: shop\nentrypoints:\n  web:\n    command: node server.js\n    traffic: ${traffic}\n`;

function webOf(text: string): EntrypointSpec {
  const { manifest, problems } = parseManifest(text);
  assert.deepEqual(problems.map(formatProblem), []);
  const web = manifest?.entrypoints['web'];
  assert.ok(web !== undefined);
  return web;
}

function trafficOf(traffic: string): TrafficPolicy {
  const policy = webOf(file(traffic)).traffic;
  assert.ok(policy !== undefined);
  return policy;
}

const problemsOf = (traffic: string): readonly string[] =>
  parseManifest(file(traffic), 'f').problems.map((problem) => formatProblem(problem).slice(2));

test('an Entrypoint that says nothing of traffic has the default, and so has an empty section', () => {
  assert.deepEqual(webOf('app: shop\nentrypoints: { web: { command: node server.js } }\n').traffic, DEFAULT_TRAFFIC);
  assert.deepEqual(trafficOf('{}'), DEFAULT_TRAFFIC);
});

test('every key is read', () => {
  assert.deepEqual(
    trafficOf(
      '{ balance: round-robin, protocol: h2c, maxPending: 5, maxOpen: 6, maxConnections: 7, slowStart: 0s, eject: { failures: 1, errors: 0, stall: 2s, for: 1s, share: 34 }, retries: { attempts: 2, budget: 10, perTry: 3s, unsafe: true } }',
    ),
    {
      balance: { kind: 'round-robin' },
      protocol: 'h2c',
      maxPending: 5,
      maxOpen: 6,
      maxConnections: 7,
      slowStartMs: 0,
      eject: { failures: 1, errorsPercent: 0, stallMs: 2_000, firstMs: 1_000, sharePercent: 34 },
      retries: { attempts: 2, budgetPercent: 10, perTryMs: 3_000, unsafe: true },
    },
  );
});

test('balance has words and longer forms', () => {
  const balanceOf = (text: string): unknown => trafficOf(`{ balance: ${text} }`).balance;
  assert.deepEqual(balanceOf('least'), { kind: 'least' });
  assert.deepEqual(balanceOf('sticky'), { kind: 'sticky', cookie: 'libra_instance' });
  assert.deepEqual(balanceOf('{ sticky: { cookie: pinned } }'), { kind: 'sticky', cookie: 'pinned' });
  assert.deepEqual(balanceOf('{ hash: { cookie: Session } }'), { kind: 'hash', by: { kind: 'cookie', name: 'Session' } });
  assert.deepEqual(balanceOf('{ hash: { header: X-Tenant } }'), { kind: 'hash', by: { kind: 'header', name: 'x-tenant' } });
});

test('ejection and retries can be switched off', () => {
  assert.equal(trafficOf('{ eject: false }').eject, null);
  assert.equal(trafficOf('{ retries: false }').retries.attempts, 1);
});

test('what cannot be is told with its place', () => {
  assert.deepEqual(problemsOf('{ balance: lest }'), [
    '5:25: entrypoints.web.traffic.balance: expected one of least, round-robin, sticky, found "lest"; did you mean least?',
  ]);
  assert.deepEqual(problemsOf('{ balance: { hash: {} } }'), ['5:33: entrypoints.web.traffic.balance.hash: expected one of cookie, header']);
  assert.deepEqual(problemsOf('{ balance: { hash: { cookie: a, header: b } } }'), [
    '5:46: entrypoints.web.traffic.balance.hash.header: cannot stand next to cookie',
  ]);
  assert.deepEqual(problemsOf('{ balance: { hash: { cookie: "a b" } } }'), [
    '5:43: entrypoints.web.traffic.balance.hash.cookie: expected the name of a cookie, found "a b"',
  ]);
  assert.deepEqual(problemsOf('{ maxOpn: 3 }'), ['5:16: entrypoints.web.traffic.maxOpn: unknown key; did you mean maxOpen?']);
  assert.deepEqual(problemsOf('{ eject: true }'), ['5:23: entrypoints.web.traffic.eject: expected false, or a mapping, found true']);
  assert.deepEqual(problemsOf('{ maxOpen: 0, retries: { attempts: 11 } }'), [
    '5:25: entrypoints.web.traffic.maxOpen: expected a whole number from 1 to 1000000, found 0',
    '5:49: entrypoints.web.traffic.retries.attempts: expected a whole number from 1 to 10, found 11',
  ]);
});

test('traffic has no meaning for what runs once', () => {
  const { problems } = parseManifest('app: a\nentrypoints:\n  job: { command: x, run: manual, traffic: {} }\n', 'f');
  assert.deepEqual(problems.map(formatProblem), ['f:3:35: entrypoints.job.traffic: has no meaning for an Entrypoint that runs on request']);
});

test('a Deployment of before there was traffic differs in nothing from one with the default', () => {
  const web = webOf(file('{}'));
  const { traffic: _traffic, ...old } = web;
  assert.deepEqual(describeDifferences({ entrypoints: { web: old }, env: {} }, { entrypoints: { web }, env: {} }), []);
  const other = webOf(file('{ maxOpen: 9 }'));
  assert.deepEqual(
    describeDifferences({ entrypoints: { web: old }, env: {} }, { entrypoints: { web: other }, env: {} }).map((each) => each.path),
    ['entrypoints.web.traffic.maxOpen'],
  );
});
