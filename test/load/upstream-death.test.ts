// An Instance that is stopped in the middle of everything, and one that is killed: how many requests fail, and how long it takes until
// each has its part again; over HTTP/1.1, and over HTTP/2, where many requests share one connection. With a real Edge and Instances in
// processes of their own.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { RouteTarget } from '../../src/api/dataplane.ts';
import { group, rule, startEdge, until } from '../../src/edge/edge-fixture.ts';
import { DEFAULT_TRAFFIC } from '../../src/model/traffic-policy.ts';
import type { TestEdge } from '../../src/edge/edge-fixture.ts';
import { startEdgeLoad } from '../fixtures/edge-load.ts';
import type { EdgeLoad, Sample } from '../fixtures/edge-load.ts';

const HOST = 'app.localhost';
const PROGRAM = fileURLToPath(new URL('../fixtures/upstream-child.ts', import.meta.url));

interface Upstream {
  readonly child: ChildProcess;
  readonly port: number;
}

for (const protocol of ['http1', 'h2c'] as const)
  describe(protocol, () => {
    let edge: TestEdge;
    const upstreams = new Map<string, Upstream>();

    async function start(name: string, port = 0): Promise<Upstream> {
      const child = spawn(process.execPath, [PROGRAM, name, String(port), protocol], { stdio: ['ignore', 'pipe', 'inherit'] });
      const [first] = (await once(child.stdout, 'data')) as [Buffer]; // a stream without an encoding gives buffers
      const upstream = { child, port: Number(String(first).trim()) };
      upstreams.set(name, upstream);
      return upstream;
    }

    const target = (name: string): RouteTarget => ({
      instanceId: name,
      deploymentId: 'd',
      nodeId: 'n',
      host: '127.0.0.1',
      port: upstreams.get(name)?.port ?? 0,
      state: 'active',
      drainUntilMs: null,
    });

    before(async () => {
      edge = await startEdge();
      await Promise.all(['a', 'b', 'c'].map((name) => start(name)));
      await edge.install({
        rules: [rule(HOST, 'app')],
        groups: [{ ...group('app', ['a', 'b', 'c'].map(target)), policy: { ...DEFAULT_TRAFFIC, protocol } }],
      });
    });
    after(async () => {
      await edge.stop();
      for (const { child } of upstreams.values()) child.kill('SIGKILL');
    });

    const since = (load: EdgeLoad, atMs: number): readonly Sample[] => load.samples.filter((sample) => sample.atMs >= atMs);

    /** Milliseconds until the Instance answers again. */
    async function untilBack(load: EdgeLoad, name: string): Promise<number> {
      const fromMs = load.nowMs();
      await until(`${name} has its part again`, () => since(load, fromMs).some((sample) => sample.body === name), 40_000);
      return load.nowMs() - fromMs;
    }

    test('an Instance that is stopped costs the requests that it has, and no more; it is back soon after it goes on', async (t) => {
      const load = startEdgeLoad({ port: edge.port, host: HOST, clients: 16 });
      await until('all three answer', () => new Set(load.samples.map((sample) => sample.body)).size >= 3);
      const stoppedMs = load.nowMs();
      upstreams.get('a')?.child.kill('SIGSTOP');
      await until('enough was asked while it stood', () => load.nowMs() - stoppedMs > 7_000, 20_000);
      const during = since(load, stoppedMs);
      const failed = during.filter((sample) => !sample.ok);
      const late = failed.filter((sample) => sample.atMs > stoppedMs + 1_000);
      upstreams.get('a')?.child.kill('SIGCONT');
      const backMs = await untilBack(load, 'a');
      await load.stop();
      t.diagnostic(
        `${failed.length} of ${during.length} failed, ${late.length} of them after the first second; back after ${backMs.toFixed(0)} ms`,
      );
      // Those that were on their way, which are at most all clients.
      assert.ok(failed.length <= 16 + 2, `${failed.length} failed`);
      assert.ok(late.length / during.length < 0.001);
      // One more time out at the most: it may have had its trial while it stood.
      assert.ok(backMs < 16_000, `back after ${backMs} ms`);
    });

    test('an Instance that is killed costs a GET nothing, and has its part again when it is started anew', async (t) => {
      const load = startEdgeLoad({ port: edge.port, host: HOST, clients: 16 });
      await until('b answers', () => load.samples.some((sample) => sample.body === 'b'), 30_000);
      const killed = upstreams.get('b');
      assert.ok(killed !== undefined);
      const killedMs = load.nowMs();
      killed.child.kill('SIGKILL');
      await until('enough was asked without it', () => load.nowMs() - killedMs > 2_000);
      await start('b', killed.port);
      const backMs = await untilBack(load, 'b');
      await load.stop();
      const failed = load.samples.filter((sample) => !sample.ok).length;
      t.diagnostic(`${failed} of ${load.samples.length} failed; back ${backMs.toFixed(0)} ms after its start`);
      assert.equal(failed, 0);
      assert.ok(backMs < 10_000);
    });
  });
