// Redeploys of an App with two Instances under constant load: no request may fail, and long streams live until the drain limit.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { startLoad } from '../fixtures/load.ts';
import { sized } from '../full-size.ts';
import { Platform } from '../platform.ts';

const REDEPLOYS = sized({ usual: 5, full: 20, setting: 'LIBRA_TEST_REDEPLOYS' });
const DRAIN_MS = 2000;

describe('redeploys under load', () => {
  const platform = new Platform();
  before(() => platform.start());
  after(() => platform.dispose());

  test(`${REDEPLOYS} times without a failed request`, async (t) => {
    const source = (version: number): string =>
      writeApp(
        platform,
        'shop',
        serverApp({ text: `version ${version}`, instances: 2, web: [`rollout: { drain: ${DRAIN_MS}ms }`], before: `// ${version}` }),
      );
    assert.equal((await platform.cli('deploy', source(0))).code, 0);
    const load = startLoad({
      port: platform.edgePort,
      host: 'shop.localhost',
      keptAlive: 4,
      fresh: 3,
      large: { loops: 1, bytes: 10 * 1024 * 1024 },
      webSockets: 50,
      eventStreams: 50,
      pauseMs: 10,
      accept: (status, body) => status === 200 && body.startsWith('version '),
    });
    const tookMs: number[] = [];
    try {
      for (let version = 1; version <= REDEPLOYS; version += 1) {
        const began = performance.now();
        const result = await platform.cli('deploy', source(version));
        tookMs.push(performance.now() - began);
        assert.equal(result.code, 0, result.stdout + result.stderr);
        assert.deepEqual(load.failures(), [], `after redeploy ${version}`);
      }
    } finally {
      const result = await load.stop();
      const sorted = result.latenciesMs.toSorted((left, right) => left - right);
      t.diagnostic(
        `${result.requests} small and ${result.largeRequests} large requests, ${result.failures.length} failed; ${result.streamsOpened} streams opened, ${result.endedStreams.length} ended at a drain limit`,
      );
      t.diagnostic(
        `median ${sorted[Math.floor(sorted.length / 2)]?.toFixed(1)} ms, 99 % ${sorted[Math.floor(sorted.length * 0.99)]?.toFixed(1)} ms; a redeploy took ${tookMs.toSorted((left, right) => left - right)[Math.floor(tookMs.length / 2)]?.toFixed(0)} ms (median)`,
      );
      assert.deepEqual(result.failures, []);
      assert.ok(result.requests > 500);
      assert.ok(result.endedStreams.length > 0, 'streams on old Instances ended');
      // A stream that is open when its Instance begins to drain lives on until the limit; none is cut early.
      const early = result.endedStreams.filter((stream) => stream.openMs < DRAIN_MS * 0.9);
      assert.deepEqual(early, []);
    }
    assert.equal((await platform.get('shop.localhost')).body, `version ${REDEPLOYS}`);
  });
});
