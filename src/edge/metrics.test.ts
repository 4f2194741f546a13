import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEdgeMetrics } from './metrics.ts';
import type { Observation } from './metrics.ts';

const observation = (app: string, more: Partial<Observation> = {}): Observation => ({
  labels: { app, environment: 'production', entrypoint: 'web' },
  status: 200,
  durationMs: 7,
  attempts: 1,
  failed: false,
  bytesIn: 1,
  bytesOut: 2,
  ...more,
});

test('requests are counted by class, their durations in cumulative buckets', () => {
  const metrics = createEdgeMetrics();
  metrics.observe(observation('shop'));
  metrics.observe(observation('shop', { status: 503, durationMs: 70, attempts: 3, failed: true }));
  metrics.observe(observation('shop', { status: null, durationMs: 60_000 }));
  metrics.refused(400);
  const lines = metrics.text([{ name: 'libra_edge_connections', help: 'Open connections of clients.', value: 4 }]).split('\n');
  const labels = 'app="shop",environment="production",entrypoint="web"';
  for (const line of [
    `libra_edge_requests_total{${labels},code="2xx"} 1`,
    `libra_edge_requests_total{${labels},code="5xx"} 1`,
    `libra_edge_requests_total{${labels},code="none"} 1`,
    `libra_edge_request_duration_seconds_bucket{${labels},le="0.005"} 0`,
    `libra_edge_request_duration_seconds_bucket{${labels},le="0.01"} 1`,
    `libra_edge_request_duration_seconds_bucket{${labels},le="0.1"} 2`,
    `libra_edge_request_duration_seconds_bucket{${labels},le="30"} 2`,
    `libra_edge_request_duration_seconds_bucket{${labels},le="+Inf"} 3`,
    `libra_edge_request_duration_seconds_count{${labels}} 3`,
    `libra_edge_retries_total{${labels}} 2`,
    `libra_edge_upstream_failures_total{${labels}} 1`,
    'libra_edge_refused_total{code="400"} 1',
    'libra_edge_connections 4',
  ]) {
    assert.ok(lines.includes(line), line);
  }
});

test('the number of series is bounded', () => {
  const metrics = createEdgeMetrics();
  for (let index = 0; index < 5_100; index += 1) metrics.observe(observation(`app${index}`));
  const counts = metrics.text([]).match(/^libra_edge_requests_total\{.*$/gm) ?? [];
  assert.equal(counts.length, 5_001);
  assert.ok(counts.includes('libra_edge_requests_total{app="other",environment="other",entrypoint="other",code="2xx"} 100'));
});
