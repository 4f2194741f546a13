// What an operator can look at: one /metrics for the whole platform, the access log, events and status.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { until, withPlatform } from '../platform.ts';

test('requests show in the metrics and in the access log, changes in the events', () =>
  withPlatform(async (platform) => {
    assert.equal((await platform.cli('deploy', writeApp(platform, 'shop', serverApp({ text: 'one' })))).code, 0);
    assert.equal((await platform.get('shop.localhost', '/?password=hunter2')).status, 200);
    assert.equal((await platform.get('nobody.localhost')).status, 404);

    const metrics = await fetch(`${platform.addresses.api}/metrics`, { headers: { authorization: `Bearer ${platform.token()}` } });
    const text = await metrics.text();
    assert.match(text, /^libra_apps 1$/mu);
    assert.match(text, /^libra_edge_requests_total\{app="shop"[^}]*\} 1$/mu);
    const [instance] = await until('the Instance is measured', 20_000, async () => {
      const { items } = await platform
        .client()
        .instances.list({ params: { app: 'shop', environment: 'production' }, query: { all: false } });
      return items.every(({ usage }) => usage !== null && usage.cpu !== null) ? items : null;
    });
    const { cpu, cpuSeconds = 0, memoryBytes = 0, processes } = instance?.usage ?? {};
    assert.ok(typeof cpu === 'number' && cpu < 4 && cpuSeconds > 0.01 && cpuSeconds < 60, `${cpu} cores, ${cpuSeconds} s`);
    assert.ok(memoryBytes > 5e6 && memoryBytes < 500e6, `${memoryBytes} bytes`);
    assert.equal(processes, 1);
    assert.match((await platform.cli('ps', '-a', 'shop')).stdout, /CPU +MEMORY[\s\S]* \d\.\d\d +[\d.]+Mi/u);
    const measured = await (
      await fetch(`${platform.addresses.api}/metrics`, { headers: { authorization: `Bearer ${platform.token()}` } })
    ).text();
    const labels = `app="shop",environment="production",entrypoint="web",instance="${instance?.id}",node="test-node"`;
    assert.match(measured, new RegExp(`^libra_instance_memory_bytes\\{${labels}\\} \\d+$`, 'mu'));
    assert.match(measured, new RegExp(`^libra_instance_cpu_seconds_total\\{${labels}\\} [\\d.]+$`, 'mu'));
    assert.match(measured, new RegExp(`^libra_instance_disk_written_bytes_total\\{${labels}\\} \\d+$`, 'mu'));
    assert.doesNotMatch(measured, /^libra_instance_network_receive_bytes_total\{/mu, 'the process driver cannot tell');
    assert.match(measured, /^libra_node_cpu_seconds_total\{node="test-node"\} [\d.]+$/mu);
    assert.match(measured, /^libra_node_network_transmit_bytes_total\{node="test-node"\} \d+$/mu);
    const history = await until('a step of the history is over', 40_000, async () => {
      const { items } = await platform.client().instances.stats({ params: { app: 'shop', environment: 'production' }, query: {} });
      return items[0] !== undefined && items[0].points.some((point) => point.cpu !== null) ? items[0] : null;
    });
    assert.deepEqual([history.instance, history.node, history.stepMs], [instance?.id, 'test-node', 10_000]);
    assert.match((await platform.cli('stats', '-a', 'shop')).stdout, /web\.0 +test-node +\d\.\d\d +[▁-█ ]+ [\d.]+Mi/u);
    assert.match((await platform.cli('nodes', 'stats')).stdout, /test-node +\d+\.\d\d/u);
    const unknown = await fetch(`${platform.addresses.api}/metrics`);
    assert.equal(unknown.status, 401);

    const lines = await until('both requests are in the access log', 5000, () => {
      const found = readFileSync(join(platform.data, 'logs/access.log'), 'utf8').trim().split('\n');
      return found.length >= 2 ? found : null;
    });
    const [first] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.equal(first?.['status'], 200);
    assert.doesNotMatch(lines.join('\n'), /hunter2/u, 'queries may hold secrets and are not logged');

    const requested = await platform.cli('requests', '--json');
    const shown = requested.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { host: string; status: number; deployment?: string });
    assert.deepEqual(
      shown.map(({ host, status, deployment }) => [host, status, deployment]),
      [
        ['shop.localhost', 200, '1'],
        ['nobody.localhost', 404, undefined],
      ],
      requested.stderr,
    );
    assert.doesNotMatch(requested.stdout, /hunter2/u);
    assert.equal((await platform.cli('requests', '--status', '5xx')).stdout, '');
    assert.equal((await platform.cli('requests', '--status', '6xx')).code, 2);

    const events = (await platform.cli('events', '--json')).stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { kind: string });
    assert.ok(events.some((event) => event.kind === 'deployment.succeeded'));
    const status = JSON.parse((await platform.cli('status', '--json')).stdout) as {
      counts: { apps: number };
      edges: { current: boolean }[];
    };
    assert.equal(status.counts.apps, 1);
    assert.ok(status.edges.every((edge) => edge.current));
  }));

test('requests are watched as they come, from every worker, as long as somebody does', () =>
  withPlatform(
    async (platform) => {
      assert.equal((await platform.cli('deploy', writeApp(platform, 'shop', serverApp({ text: 'one' })))).code, 0);
      const stop = new AbortController();
      const seen: string[] = [];
      const watching = (async () => {
        const query = { app: 'shop', path: '/w', tail: 0, follow: true };
        for await (const request of platform.client().requests.watch({ query, signal: stop.signal, giveUpAfterMs: 0 }))
          seen.push(request.path);
      })().catch((error: unknown) => assert.ok(stop.signal.aborted, String(error)));
      // Which worker accepts is not ours to say, and one may begin to watch a moment after the other.
      let asked = 0;
      await until('what was asked is seen', 10_000, async () => {
        asked += 1;
        await platform.get('shop.localhost', `/w${asked}`);
        await platform.get('shop.localhost', '/other');
        return seen.length >= 10;
      });
      stop.abort();
      await watching;
      assert.ok(seen.every((path) => path.startsWith('/w')));
      assert.equal(new Set(seen).size, seen.length, 'none is told twice');
    },
    { env: { LIBRA_EDGE_WORKERS: '2' } },
  ));
