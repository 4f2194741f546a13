import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_TRAFFIC } from '../model/traffic-policy.ts';
import { accessLine } from './access-log.ts';
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
    // Of the client's side only its address goes into the log.
    client: { connection } as ClientStream,
    request,
    next: () => null,
    retries: () => ({ policy: DEFAULT_TRAFFIC.retries, budget: new RetryBudget(20) }),
    editAnswer: () => undefined,
    onResult: () => undefined,
    facts: {
      startedMs: 0,
      attempts: 2,
      target: { id: 'i1', nodeId: 'n', host: '127.0.0.1', port: 1 },
      connectMs: 0.123_456,
      firstByteMs: 4.5,
      bytesIn: 3,
      bytesOut: 4,
    },
  };
}

test('a line holds the phases and never the query', () => {
  const line = accessLine({
    atMs: Date.UTC(2026, 0, 2),
    durationMs: 5.000_4,
    status: 200,
    exchange: exchange('/pay\n?token=secret'),
    requestId: 'r1',
    result: 'answered',
    reason: null,
    labels: { app: 'shop', route: 'shop.localhost/' },
  });
  assert.doesNotMatch(line, /secret|\n/);
  assert.deepEqual(JSON.parse(line), {
    at: '2026-01-02T00:00:00.000Z',
    id: 'r1',
    client: '10.0.0.1',
    method: 'GET',
    host: 'shop.localhost',
    path: '/pay\n',
    status: 200,
    result: 'answered',
    app: 'shop',
    route: 'shop.localhost/',
    instance: 'i1',
    attempts: 2,
    durationMs: 5,
    connectMs: 0.123,
    firstByteMs: 4.5,
    bytesIn: 3,
    bytesOut: 4,
  });
});

test('a request that met no target says why', () => {
  const bare = exchange('/');
  bare.facts.target = null;
  const line = accessLine({
    atMs: 0,
    durationMs: 1,
    status: 404,
    exchange: bare,
    requestId: 'r',
    result: 'no_target',
    reason: 'no_host',
    labels: {},
  });
  const { instance, reason } = JSON.parse(line) as Record<string, unknown>; // the line above
  assert.deepEqual([instance, reason], [null, 'no_host']);
});
