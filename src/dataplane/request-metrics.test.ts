import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { lacking } from '../../test/requirements.ts';
import { createRequestMetrics } from './request-metrics.ts';
import type { Labels, RequestMetrics } from './request-metrics.ts';

const createEdgeMetrics = (): RequestMetrics =>
  createRequestMetrics('libra_edge', ['app', 'environment', 'entrypoint', 'route', 'version']);

const labels = (app: string, version = '1'): Labels => ({
  app,
  environment: 'production',
  entrypoint: 'web',
  route: `${app}.localhost/`,
  version,
});

test('requests are counted by route, version and status, their durations in cumulative buckets', () => {
  const metrics = createEdgeMetrics();
  const shop = metrics.handle(labels('shop'));
  shop.observe(200, 7, 7, 1, false, 1, 2);
  shop.observe(503, 70, 70, 3, true, 1, 2);
  shop.observe(null, 60_000, null, 1, false, 1, 2);
  metrics.handle(labels('shop', '2')).observe(201, 1, 1, 1, false, 0, 0);
  metrics.refused(400);
  const lines = metrics.text([{ name: 'libra_edge_connections', help: 'Open connections of clients.', value: 4 }]).split('\n');
  const text = 'app="shop",environment="production",entrypoint="web",route="shop.localhost/",version="1"';
  for (const line of [
    `libra_edge_requests_total{${text},code="200"} 1`,
    `libra_edge_requests_total{${text},code="503"} 1`,
    `libra_edge_requests_total{${text},code="none"} 1`,
    `libra_edge_requests_total{${text.replace('version="1"', 'version="2"')},code="201"} 1`,
    `libra_edge_request_duration_seconds_bucket{${text},le="0.005"} 0`,
    `libra_edge_request_duration_seconds_bucket{${text},le="0.01"} 1`,
    `libra_edge_request_duration_seconds_bucket{${text},le="0.1"} 2`,
    `libra_edge_request_duration_seconds_bucket{${text},le="30"} 2`,
    `libra_edge_request_duration_seconds_bucket{${text},le="+Inf"} 3`,
    `libra_edge_request_duration_seconds_count{${text}} 3`,
    `libra_edge_first_byte_seconds_count{${text}} 2`,
    `libra_edge_retries_total{${text}} 2`,
    `libra_edge_upstream_failures_total{${text}} 1`,
    `libra_edge_sent_bytes_total{${text}} 6`,
    'libra_edge_refused_total{code="400"} 1',
    'libra_edge_connections 4',
  ]) {
    assert.ok(lines.includes(line), line);
  }
});

test('a handle that is asked for again is the same one', () => {
  const metrics = createEdgeMetrics();
  assert.equal(metrics.handle(labels('a')), metrics.handle(labels('a')));
});

test('an App that answers with every status there is fills a bounded number of series', () => {
  const metrics = createEdgeMetrics();
  const handle = metrics.handle(labels('odd'));
  for (let status = 200; status < 600; status += 1) handle.observe(status, 1, 1, 1, false, 0, 0);
  const counts = [...metrics.text([]).matchAll(/^libra_edge_requests_total\{.*code="(\w+)"\} (\d+)$/gm)];
  assert.ok(counts.length <= 28, String(counts.length));
  assert.equal(
    counts.reduce((sum, [, , count]) => sum + Number(count), 0),
    400,
  );
});

test('the number of series is bounded, and what is not asked for any more makes room', () => {
  const metrics = createEdgeMetrics();
  const first = metrics.handle(labels('app0'));
  for (let index = 0; index < 2_100; index += 1) metrics.handle(labels(`app${index}`)).observe(200, 1, 1, 1, false, 0, 0);
  assert.equal(first.live, true);
  const full = metrics.text([]).match(/^libra_edge_requests_total\{.*$/gm) ?? [];
  assert.ok(full.length <= 2_001, String(full.length));
  assert.ok(full.some((line) => line.includes('app="other"')));
  for (let scrape = 0; scrape < 40; scrape += 1) {
    metrics.text([]);
    metrics.handle(labels('app7')).observe(200, 1, 1, 1, false, 0, 0);
  }
  metrics.handle(labels('new')).observe(200, 1, 1, 1, false, 0, 0);
  assert.equal(first.live, false);
  const swept = metrics.text([]);
  assert.match(swept, /app="new"/);
  assert.match(swept, /app="app7"/);
  assert.doesNotMatch(swept, /app="app8"/);
});

test('promtool finds nothing to say about the text', { skip: lacking('prometheus') }, () => {
  const metrics = createEdgeMetrics();
  metrics.handle({ ...labels('sh"op\\\n'), route: 'ä.localhost/' }).observe(200, 3, 3, 2, true, 1, 1);
  metrics.noRoute.observe(404, 1, 1, 0, false, 0, 0);
  metrics.refused(431);
  const checked = spawnSync('promtool', ['check', 'metrics'], {
    input: metrics.text([{ name: 'libra_edge_connections', help: 'Open connections.', value: 1 }]),
    encoding: 'utf8',
  });
  assert.deepEqual([checked.status, checked.stdout, checked.stderr], [0, '', '']);
});
