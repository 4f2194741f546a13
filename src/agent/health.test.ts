// Thresholds, grace, rhythm and real probes of health checks.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import * as fc from 'fast-check';
import { createFakeClock } from '../lib/clock.ts';
import { createSeededRandom } from '../lib/id.ts';
import type { Health } from '../model/manifest-types.ts';
import { judge, NEW_JUDGEMENT, startHealthCheck } from './health.ts';
import type { Judgement } from './health.ts';
import { probeOnce } from './probes.ts';
import type { ProbeResult, ProbeTarget } from './probes.ts';

const health: Health = { probe: { kind: 'tcp' }, intervalMs: 5000, timeoutMs: 2000, healthy: 2, unhealthy: 3, graceMs: 10_000 };
const refused: ProbeResult = { kind: 'tcp', problem: 'refused' };

test('it becomes healthy after as many successes in a row as asked, and unhealthy after as many failures in a row', () => {
  fc.assert(
    fc.property(
      fc.array(fc.boolean(), { maxLength: 40 }),
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 4 }),
      (results, up, down) => {
        const rules = { ...health, healthy: up, unhealthy: down, graceMs: 0 };
        let judgement: Judgement = NEW_JUDGEMENT;
        let expected = false;
        for (let index = 0; index < results.length; index += 1) {
          judgement = judge(judgement, results[index] === true, rules, 60_000);
          const tail = (length: number, ok: boolean): boolean =>
            index + 1 >= length && results.slice(index + 1 - length, index + 1).every((each) => each === ok);
          if (tail(up, true)) expected = true;
          if (tail(down, false)) expected = false;
          assert.equal(judgement.healthy, expected);
        }
      },
    ),
  );
});

test('failures within the grace time never count', () => {
  let judgement: Judgement = { ...NEW_JUDGEMENT, healthy: true, ready: true };
  for (let count = 0; count < 10; count += 1) judgement = judge(judgement, false, health, 9_999);
  assert.equal(judgement.healthy, true);
  for (let count = 0; count < 3; count += 1) judgement = judge(judgement, false, health, 10_000);
  assert.equal(judgement.healthy, false);
});

interface Watched {
  readonly clock: ReturnType<typeof createFakeClock>;
  readonly probes: number[];
  readonly events: string[];
  result: ProbeResult;
}

function watch(context: TestContext, rules: Health, initial: Judgement = NEW_JUDGEMENT): Watched {
  const clock = createFakeClock();
  const watched: Watched = { clock, probes: [], events: [], result: refused };
  const check = startHealthCheck({
    clock,
    random: createSeededRandom(7),
    health: rules,
    startedAt: clock.monotonic(),
    initial,
    probe: async () => {
      watched.probes.push(clock.monotonic());
      return watched.result;
    },
    onHealthy: () => watched.events.push('healthy'),
    onUnhealthy: (failure) => watched.events.push(failure.kind),
  });
  context.after(() => check.stop());
  return watched;
}

test('while it starts it is looked at quickly, and calmly with jitter once it is healthy', async (context) => {
  const watched = watch(context, health);
  await watched.clock.advance(1000);
  assert.ok(watched.probes.length >= 4, `only ${watched.probes.length} probes in the first second`);
  watched.result = null;
  await watched.clock.advance(3000);
  assert.deepEqual(watched.events.at(-1), 'healthy');
  const before = watched.probes.length;
  await watched.clock.advance(50_000);
  const calm = watched.probes.slice(before).map((at, index, all) => at - (all[index - 1] ?? at));
  assert.ok(calm.length >= 9 && calm.length <= 11);
  assert.ok(new Set(calm.slice(1)).size > 1, 'every pause is the same');
  for (const pause of calm.slice(1)) assert.ok(pause >= 4500 && pause <= 5500, `${pause} ms`);
});

test('a healthy program that fails is looked at in its own rhythm, so that one hiccup of a second changes nothing', async (context) => {
  const watched = watch(context, { ...health, graceMs: 0 }, { ...NEW_JUDGEMENT, healthy: true, ready: true });
  await watched.clock.advance(9000);
  assert.deepEqual(watched.events, []);
  await watched.clock.advance(9000);
  assert.deepEqual(watched.events[0], 'tcp');
});

test('a program without a check is healthy when it has run for its settling time', async (context) => {
  const watched = watch(context, { ...health, probe: { kind: 'running', settleMs: 2000 } });
  await watched.clock.advance(1999);
  assert.deepEqual(watched.events, []);
  await watched.clock.advance(1);
  assert.deepEqual(watched.events, ['healthy']);
});

const never = new AbortController().signal;
const target = (port: number): ProbeTarget => ({ host: '127.0.0.1', port, exec: async () => ({ code: 0, output: '' }) });

async function listen(context: TestContext, server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  context.after(() => server.close());
  return (server.address() as AddressInfo).port; // listening on a port, so it is no path
}

test('http: 200 to 399 is well without following redirects; everything else is told with its status', async (context) => {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(`${request.headers.host} ${request.url}`);
    response.writeHead(Number(request.url?.slice(1)), { location: '/500' }).end('x'.repeat(10_000));
  });
  const port = await listen(context, server);
  for (const status of [200, 204, 302, 399]) {
    assert.equal(await probeOnce({ kind: 'http', path: `/${status}` }, target(port), 1000, never), null);
  }
  for (const status of [400, 404, 500, 503]) {
    assert.deepEqual(await probeOnce({ kind: 'http', path: `/${status}` }, target(port), 1000, never), {
      kind: 'http',
      path: `/${status}`,
      status,
      problem: 'status',
    });
  }
  assert.deepEqual(
    seen,
    ['200', '204', '302', '399', '400', '404', '500', '503'].map((status) => `localhost /${status}`),
  );
});

test('nobody listening, no answer and no HTTP are told apart', async (context) => {
  const silent = createTcpServer(() => undefined);
  const silentPort = await listen(context, silent);
  const rude = createTcpServer((socket) => socket.on('error', () => undefined).end('hello\n'));
  const rudePort = await listen(context, rude);
  const closed = createTcpServer(() => undefined);
  const closedPort = await listen(context, closed);
  await new Promise((resolve) => {
    closed.close(resolve);
  });
  const http = { kind: 'http', path: '/' } as const;
  assert.equal(((await probeOnce(http, target(closedPort), 1000, never)) as { problem: string }).problem, 'refused');
  assert.equal(((await probeOnce(http, target(silentPort), 50, never)) as { problem: string }).problem, 'timeout');
  assert.equal(((await probeOnce(http, target(rudePort), 1000, never)) as { problem: string }).problem, 'broken');
  assert.equal(await probeOnce({ kind: 'tcp' }, target(silentPort), 1000, never), null);
  assert.deepEqual(await probeOnce({ kind: 'tcp' }, target(closedPort), 1000, never), { kind: 'tcp', problem: 'refused' });
});

test('command: its exit code decides, and its deadline holds', async () => {
  const command = { kind: 'command', command: ['check'] } as const;
  const exits = (code: number): ProbeTarget => ({ host: '', port: null, exec: async () => ({ code, output: 'out' }) });
  assert.equal(await probeOnce(command, exits(0), 1000, never), null);
  assert.deepEqual(await probeOnce(command, exits(2), 1000, never), { kind: 'command', exitCode: 2, output: 'out' });
  const hangs: ProbeTarget = {
    host: '',
    port: null,
    exec: (_argv, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(new Error('killed')));
      }),
  };
  assert.deepEqual(await probeOnce(command, hangs, 20, never), { kind: 'command', exitCode: null, output: 'killed' });
});
