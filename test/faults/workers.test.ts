// Several workers of the Edge on one port: kill −9 of one costs only its own connections, and a change of their number or settings under
// load, with streams open, costs nothing.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { startLoad } from '../fixtures/load.ts';
import type { Load } from '../fixtures/load.ts';
import { Platform, until } from '../platform.ts';

const WORKERS = 2;
const MORE_WORKERS = 3;

function workersOf(platform: Platform): number[] {
  return platform
    .processes()
    .filter(({ command }) => command.includes(' data-plane '))
    .map(({ pid }) => pid);
}

const load = (platform: Platform, streams: number): Load =>
  startLoad({
    port: platform.edgePort,
    host: 'shop.localhost',
    keptAlive: 4,
    fresh: 4,
    webSockets: streams,
    eventStreams: streams,
    pauseMs: 2,
    accept: (status, body) => status === 200 && body === 'one',
  });

async function edgesOf(platform: Platform): Promise<{ id: string; current: boolean }[]> {
  const { stdout } = await platform.cli('status', '--json');
  return (JSON.parse(stdout) as { edges: { id: string; current: boolean }[] }).edges; // printed by our own command
}

async function metricsOf(platform: Platform): Promise<string> {
  const answer = await fetch(`${platform.addresses.api}/metrics`, { headers: { authorization: `Bearer ${platform.token()}` } });
  return await answer.text();
}

describe('workers of the Edge', () => {
  const platform = new Platform({ env: { LIBRA_EDGE_WORKERS: String(WORKERS) } });
  before(async () => {
    await platform.start();
    assert.equal((await platform.cli('deploy', writeApp(platform, 'shop', serverApp({ text: 'one', instances: 2 })))).code, 0);
  });
  let successor: Platform | null = null;
  after(async () => {
    await successor?.stop();
    await platform.dispose();
  });

  test('share the port, and one page of metrics tells about all of them', async () => {
    assert.equal(workersOf(platform).length, WORKERS);
    for (let index = 0; index < 40; index += 1) assert.equal((await platform.get('shop.localhost')).status, 200);
    const text = await metricsOf(platform);
    const counts = [...text.matchAll(/^libra_edge_requests_total\{app="shop".*version="1",code="200"\} (\d+)$/gmu)];
    assert.equal(
      counts.reduce((sum, [, count]) => sum + Number(count), 0),
      40,
      text,
    );
    for (let worker = 0; worker < WORKERS; worker += 1)
      assert.match(text, new RegExp(`^libra_edge_connections\\{worker="${worker}"\\}`, 'mu'));
  });

  test('one that is killed costs only its own connections and is back within about a second', async (t) => {
    const running = load(platform, 0);
    const [victim] = workersOf(platform);
    assert.ok(victim !== undefined);
    const killedMs = performance.now();
    process.kill(victim, 'SIGKILL');
    await until('another has its place', 5_000, () => {
      const now = workersOf(platform);
      return now.length === WORKERS && !now.includes(victim);
    });
    const startedMs = performance.now() - killedMs;
    await until('it follows control, and the dead one is not waited for', 3_000, async () => {
      const edges = await edgesOf(platform);
      return edges.length === WORKERS && edges.every(({ current }) => current) && !edges.some(({ id }) => id.endsWith(`.${victim}`));
    });
    const backMs = performance.now() - killedMs;
    const result = await running.stop();
    t.diagnostic(
      `started again after ${Math.round(startedMs)} ms, in force after ${Math.round(backMs)} ms; ${result.failures.length} of ${result.requests} requests failed`,
    );
    // At most what was in flight: eight loops, of which the other worker has some.
    assert.ok(result.failures.length <= 8, result.failures.join('\n'));
    assert.ok(
      result.failures.every((failure) => /ECONNRESET|socket hang up|broke off/u.test(failure)),
      result.failures.join('\n'),
    );
  });

  test('another number of workers and other settings take over under load without a failed request or a broken stream', async (t) => {
    const running = load(platform, 20);
    await until('the streams are open', 10_000, async () => {
      const open = [...(await metricsOf(platform)).matchAll(/^libra_edge_open_requests\{.*\} (\d+)$/gmu)];
      return open.reduce((sum, [, count]) => sum + Number(count), 0) >= 40;
    });
    const old = workersOf(platform);
    const { data } = platform;
    const ports = { LIBRA_EDGE_PORT: String(platform.edgePort), LIBRA_API_PORT: new URL(platform.addresses.api).port };
    await platform.kill();
    const next = new Platform({ data, env: { ...ports, LIBRA_EDGE_WORKERS: String(MORE_WORKERS), LIBRA_EDGE_TRUSTED: '192.0.2.0/24' } });
    successor = next;
    await next.start();
    await until('the new ones serve', 10_000, async () => {
      const edges = await edgesOf(next);
      return edges.filter(({ id }) => !old.some((pid) => id.endsWith(`.${pid}`))).length === MORE_WORKERS;
    });
    // Whoever of them has streams keeps them until the drain limit.
    assert.ok(old.some((pid) => workersOf(next).includes(pid)));
    const result = await running.stop();
    assert.deepEqual(result.failures, []);
    assert.deepEqual(result.endedStreams, []);
    assert.equal(result.streamsOpened, 40);
    await until('the old ones have left, at their drain limit at the latest', 40_000, () =>
      old.every((pid) => !workersOf(next).includes(pid)),
    );
    t.diagnostic(`${result.requests} requests and ${result.streamsOpened} streams, none failed`);
    const shrinking = load(next, 0);
    const three = workersOf(next);
    await next.kill();
    successor = new Platform({ data, env: { ...ports, LIBRA_EDGE_WORKERS: '1', LIBRA_EDGE_TRUSTED: '192.0.2.0/24' } });
    await successor.start();
    await until('one is left', 10_000, () => successor !== null && workersOf(successor).length === 1);
    assert.ok(three.includes(workersOf(successor)[0] ?? 0), 'the first one was not touched');
    assert.deepEqual((await shrinking.stop()).failures, []);
  });
});
