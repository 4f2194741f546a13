import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VersionReport } from '../../api/dataplane.ts';
import { createFakeClock } from '../../lib/clock.ts';
import { NO_REQUESTS } from '../../model/version-counts.ts';
import { createVersionHistory, isVersionReport, WINDOWS_MS } from './version-history.ts';

const report = (deploymentId: string, requests: number, errors = 0): VersionReport => ({
  group: 'e1/web',
  deploymentId,
  ...NO_REQUESTS,
  requests,
  errors,
});

test('each window holds what came in during it, of all Edges together', async () => {
  const clock = createFakeClock();
  const history = createVersionHistory(clock);
  history.take('edge-1', [report('s', 1000), report('c', 100, 50)]);
  for (let second = 0; second < 60; second += 1) {
    await clock.advance(1000);
    history.take('edge-1', [report('s', 1000 + 10 * (second + 1)), report('c', 100 + second + 1, 50)]);
    history.take('edge-2', [report('c', 2 * (second + 1), second + 1)]);
  }
  const [short, , long] = history.compare('s', 'c');
  assert.deepEqual([short?.entrypoint, short?.windowMs], ['web', WINDOWS_MS[0]]);
  // A sample every two seconds, so a window may begin a little early.
  assert.ok(Math.abs((short?.stable.requests ?? 0) - 300) <= 20, String(short?.stable.requests));
  assert.ok(Math.abs((short?.recent.stable.requests ?? 0) - 100) <= 20, 'the last third');
  assert.ok(Math.abs((short?.candidate.errors ?? 0) - 30) <= 3, String(short?.candidate.errors));
  assert.deepEqual([long?.stable.requests, long?.candidate.requests, long?.candidate.errors], [1600, 160 + 120, 50 + 60]);
  assert.deepEqual(history.compare('x', 'y'), []);
});

test('an Edge that begins anew takes nothing away', async () => {
  const clock = createFakeClock();
  const history = createVersionHistory(clock);
  history.take('edge-1', [report('c', 500, 5)]);
  await clock.advance(3000);
  history.take('edge-1', [report('c', 7, 1)]);
  assert.deepEqual(history.compare('s', 'c').at(-1)?.candidate.requests, 507);
});

test('what is not reported any more is forgotten', async () => {
  const clock = createFakeClock();
  const history = createVersionHistory(clock);
  history.take('edge-1', [report('c', 500)]);
  await clock.advance(700_000);
  history.take('edge-1', []);
  assert.deepEqual(history.compare('s', 'c'), []);
});

test('a report that is none is refused', () => {
  assert.equal(isVersionReport(report('c', 1)), true);
  for (const wrong of [
    null,
    {},
    { ...report('c', 1), requests: -1 },
    { ...report('c', 1), latencies: [] },
    { ...report('c', 1), group: 1 },
  ]) {
    assert.equal(isVersionReport(wrong), false);
  }
});
