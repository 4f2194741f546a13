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
    const unknown = await fetch(`${platform.addresses.api}/metrics`);
    assert.equal(unknown.status, 401);

    const lines = await until('both requests are in the access log', 5000, () => {
      const found = readFileSync(join(platform.data, 'logs/access.log'), 'utf8').trim().split('\n');
      return found.length >= 2 ? found : null;
    });
    const [first] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.equal(first?.['status'], 200);
    assert.doesNotMatch(lines.join('\n'), /hunter2/u, 'queries may hold secrets and are not logged');

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
