import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { DEFAULT_TRAFFIC } from '../model/traffic-policy.ts';
import { accessLine, labelPart, quoted } from './access-log.ts';
import type { AccessRecord } from './access-log.ts';
import type { Exchange } from './exchange.ts';
import { Fields } from './fields.ts';
import type { ClientStream, ConnectionFacts, UpstreamRequest } from './message.ts';
import { RetryBudget } from './retry-budget.ts';

const connection: ConnectionFacts = { address: '10.0.0.1', port: 1, scheme: 'http', tls: null };

function exchange(path: string): Exchange {
  const request: UpstreamRequest = {
    method: 'GET',
    path,
    authority: 'shop.localhost',
    scheme: 'http',
    fields: new Fields(),
    origin: new Fields(),
    length: 0,
    upgrade: null,
    expectsContinue: false,
    takesTrailers: false,
  };
  return {
    // Of the client's side only this goes into the log.
    client: { connection, head: { version: '1.1' } } as ClientStream,
    request,
    next: () => null,
    retries: () => ({ policy: DEFAULT_TRAFFIC.retries, budget: new RetryBudget(20) }),
    editAnswer: () => undefined,
    bodyBytes: Infinity,
    onResult: () => undefined,
    facts: {
      startedMs: 0,
      attempts: 2,
      target: { id: 'i1', nodeId: 'n', host: '127.0.0.1', port: 1 },
      waitMs: 0,
      connectMs: 0.123_456,
      firstByteMs: 4.5,
      bytesIn: 3,
      bytesOut: 4,
    },
  };
}

const record = (more: Partial<AccessRecord> = {}): AccessRecord => ({
  atMs: Date.UTC(2026, 0, 2, 3, 4, 5, 6),
  durationMs: 5.000_4,
  status: 200,
  exchange: exchange('/pay?token=secret'),
  requestId: 'r1',
  client: '10.0.0.1',
  traceId: 't',
  spanId: 's',
  result: 'answered',
  reason: null,
  labels: '',
  ...more,
});

test('a line holds the phases and never the query', () => {
  const line = accessLine(
    record({ exchange: exchange('/pay\n?token=secret'), labels: labelPart({ route: 'shop.localhost/', app: 'shop', deployment: '12' }) }),
  );
  assert.doesNotMatch(line, /secret|\n./s);
  assert.deepEqual(JSON.parse(line), {
    at: '2026-01-02T03:04:05.006Z',
    id: 'r1',
    client: '10.0.0.1',
    method: 'GET',
    host: 'shop.localhost',
    path: '/pay\n',
    protocol: '1.1',
    tls: null,
    status: 200,
    result: 'answered',
    route: 'shop.localhost/',
    app: 'shop',
    deployment: '12',
    instance: 'i1',
    attempts: 2,
    waitMs: 0,
    connectMs: 0.123,
    firstByteMs: 4.5,
    durationMs: 5,
    bytesIn: 3,
    bytesOut: 4,
    trace: 't',
    span: 's',
  });
});

test('a request that met no target says why', () => {
  const bare = exchange('/');
  bare.facts.target = null;
  bare.facts.connectMs = null;
  const line = accessLine(record({ status: null, exchange: bare, result: 'no_target', reason: 'it said "no"' }));
  const { instance, reason, status, connectMs } = JSON.parse(line) as Record<string, unknown>; // the line above
  assert.deepEqual([instance, reason, status, connectMs], [null, 'it said "no"', null, null]);
});

test('any text is quoted so that JSON gives it back and no terminal obeys it', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (text) => {
      const json = quoted(text);
      assert.equal(JSON.parse(json), text);
      assert.doesNotMatch(json, /[\u0000-\u001F\u007F-\u009F]/u);
    }),
  );
});

test('times are written to the microsecond, at the second as between', () => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1e7, noNaN: true }), fc.integer({ min: 0, max: 4e12 }), (durationMs, atMs) => {
      const { durationMs: said, at } = JSON.parse(accessLine(record({ durationMs, atMs }))) as { durationMs: number; at: string };
      assert.ok(Math.abs(said - durationMs) <= 0.000_51, `${durationMs} is written as ${said}`);
      assert.equal(at, new Date(atMs).toISOString());
    }),
  );
});
