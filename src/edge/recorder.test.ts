import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exchange, ExchangeResult } from '../proxy/exchange.ts';
import { createFakeClock } from '../lib/clock.ts';
import type { RequestLine } from '../model/request-filter.ts';
import { Fields } from '../proxy/fields.ts';
import { group, rule } from './edge-fixture.ts';
import type { Identity } from '../dataplane/identity.ts';
import { createRequestMetrics } from '../dataplane/request-metrics.ts';
import { createRecorder } from './recorder.ts';
import type { Ended } from './recorder.ts';

const found = { rule: rule('app.localhost', 'g'), group: group('g', []) };
const identity: Identity = {
  client: { address: '192.0.2.1', scheme: 'http', host: null, chain: '192.0.2.1' },
  requestId: 'r1',
  trace: { traceId: 't', spanId: 's', traceparent: '', tracestate: null },
  origin: new Fields(),
};

function ended(version: string | null, result: ExchangeResult, more: Partial<Ended> = {}): Ended {
  const exchange = {
    client: { connection: { tls: null }, head: { version: '1.1' } },
    request: { method: 'GET', path: '/a?b=c', authority: 'app.localhost' },
    facts: {
      startedMs: 0,
      attempts: 1,
      target: version === null ? null : { id: 'i', nodeId: 'n', host: '127.0.0.1', port: 1, version },
      waitMs: 0,
      connectMs: 1,
      firstByteMs: 3,
      bytesIn: 0,
      bytesOut: 5,
    },
  } as Partial<Exchange> as Exchange; // what is recorded of one
  return { exchange, identity, found, result, status: 200, reason: null, atMs: 0, durationMs: 4, ...more };
}

function setUp() {
  const metrics = createRequestMetrics('libra_edge', ['app', 'environment', 'entrypoint', 'route', 'version']);
  const written: string[] = [];
  const watched: string[] = [];
  const accessLog = { write: (line: string) => void written.push(line), lost: () => 0, stop: () => Promise.resolve() };
  const clock = createFakeClock();
  const recorder = createRecorder({ metrics, accessLog, clock, watch: (line) => void watched.push(line) });
  const count = (pattern: RegExp): string | undefined => pattern.exec(metrics.text([]))?.[1];
  return { recorder, written, watched, count, clock };
}

test('a request counts for the version that answered, in the numbers as in the log', () => {
  const { recorder, written, watched, count } = setUp();
  for (const version of ['7', '8', '8']) recorder.record(ended(version, { type: 'answered', status: 200 }));
  assert.equal(count(/requests_total\{app="g",.*version="7",code="200"\} (\d+)/u), '1');
  assert.equal(count(/requests_total\{app="g",.*version="8",code="200"\} (\d+)/u), '2');
  assert.deepEqual(
    written.map((line) => (JSON.parse(line) as { deployment: string }).deployment),
    ['7', '8', '8'],
  );
  assert.deepEqual(watched, written);
  assert.doesNotMatch(written.join(''), /b=c/u);
});

test('how long a stream was open says nothing about how fast it was answered', () => {
  const { recorder, written, count } = setUp();
  recorder.record(ended('7', { type: 'upgraded' }, { status: 101, durationMs: 3_600_000 }));
  assert.equal(count(/duration_seconds_bucket\{app="g",.*le="0\.005"\} (\d+)/u), '1');
  assert.equal((JSON.parse(written[0] ?? '') as { durationMs: number }).durationMs, 3_600_000);
});

test('a request without a Route, or without a target, has numbers of its own', () => {
  const { recorder, written, count } = setUp();
  recorder.record(ended(null, { type: 'no_target', reason: 'none' }, { found: null, status: 404, reason: 'no_host' }));
  recorder.record(ended(null, { type: 'no_target', reason: 'none' }, { status: 503, reason: 'no_instance' }));
  assert.equal(count(/requests_total\{app="",.*code="404"\} (\d+)/u), '1');
  assert.equal(count(/requests_total\{app="g",.*version="",code="503"\} (\d+)/u), '1');
  const [first = {}, second = {}] = written.map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual([first['app'], first['deployment'], second['app'], second['deployment']], [undefined, undefined, 'g', undefined]);
});

test('what the client broke off is no failure of the target', () => {
  const { recorder, count } = setUp();
  const failed = (reason: 'timeout' | 'client_timeout'): ExchangeResult => ({ type: 'failed', reason, message: reason });
  recorder.record(ended('7', failed('client_timeout')));
  recorder.record(ended('7', { type: 'client_gone', status: null }, { status: null }));
  assert.equal(count(/upstream_failures_total\{app="g",.*\} (\d+)/u), '0');
  recorder.record(ended('7', failed('timeout')));
  recorder.record(ended('7', { type: 'cut', status: 200, message: 'cut' }));
  assert.equal(count(/upstream_failures_total\{app="g",.*\} (\d+)/u), '2');
});

test('what was refused has a line of its own with whose it was and why, and a flood of it only so many', async () => {
  const { recorder, written, watched, count, clock } = setUp();
  recorder.refuse(400, 'a line does not end with "CRLF"', '192.0.2.9');
  const [first = '{}'] = written;
  // A line of our own.
  const line = JSON.parse(first) as RequestLine;
  assert.deepEqual(
    [line.status, line.client, line.result, line.reason, line.method, line.path],
    [400, '192.0.2.9', 'refused', 'a line does not end with "CRLF"', '', ''],
  );
  recorder.record(ended('7', { type: 'answered', status: 200 }));
  // The same names, whatever became of it.
  const names = Object.keys(JSON.parse(written[1] ?? '{}') as RequestLine);
  for (const name of Object.keys(line)) assert.ok(name === 'reason' || names.includes(name), name);
  assert.deepEqual(watched, written);
  for (let index = 0; index < 1_000; index += 1) recorder.refuse(431, 'too long', '192.0.2.9');
  assert.equal(written.length, 21);
  await clock.advance(1_000);
  recorder.refuse(431, 'too long', '192.0.2.9');
  assert.equal(written.length, 22);
  assert.equal(count(/refused_total\{[^}]*431[^}]*\} (\d+)/u), '1001');
});
