import assert from 'node:assert/strict';
import http from 'node:http';
import { after, test } from 'node:test';
import { systemClock } from '../lib/clock.ts';
import { dialDirect } from './dial.ts';
import type { Target } from './dial.ts';
import { Fields } from './fields.ts';
import { DEFAULT_LIMITS } from './limits.ts';
import type { UpstreamStream } from './message.ts';
import { createPool } from './pool.ts';
import type { Pool } from './pool.ts';

const held: http.ServerResponse[] = [];
let connections = 0;
const server = http.createServer((request, response) => void (request.url === '/hold' ? held.push(response) : response.end('ok')));
server.on('connection', () => (connections += 1));
await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
const address = server.address();
const port = typeof address === 'object' && address !== null ? address.port : 0;
const target: Target = { id: 't', nodeId: 'n', host: '127.0.0.1', port };
const pools: Pool[] = [];
after(() => {
  for (const pool of pools) pool.stop();
  server.close();
});

function aPool(): Pool {
  const pool = createPool({ dial: dialDirect, limits: DEFAULT_LIMITS, clock: systemClock });
  pools.push(pool);
  return pool;
}

/** Sends a request; resolves when its answer is over, and the connection free for the next. */
function ask(pool: Pool, path = '/', to = target, stopsAtData = false): Promise<void> {
  return new Promise((resolve, reject) => {
    let opened: UpstreamStream | null = null;
    const observer = {
      onUpstreamContinue: () => undefined,
      onUpstreamInformational: () => undefined,
      onUpstreamHead: () => undefined,
      onUpstreamData: () => {
        if (stopsAtData) opened?.readAnswer(false);
      },
      onUpstreamPause: () => undefined,
      onUpstreamEnd: () => void setImmediate(resolve),
      onUpstreamDrain: () => undefined,
      onUpstreamFailed: ({ message }: { readonly message: string }) => reject(new Error(message)),
    };
    const onOpened = (stream: UpstreamStream): void => {
      opened = stream;
      stream.sendHead({
        method: 'GET',
        path,
        authority: 'app',
        scheme: 'http',
        fields: new Fields(),
        origin: new Fields(),
        length: 0,
        upgrade: null,
        expectsContinue: false,
        takesTrailers: false,
      });
    };
    pool.open(to, false, observer, { onOpened, onOpenFailed: (message) => reject(new Error(message)) });
  });
}

const closed = async (pool: Pool): Promise<void> => {
  while (pool.sizes().targets > 0 || pool.sizes().busy > 0) await new Promise((resolve) => void setImmediate(resolve));
};

test('a connection is used again, also by who names the same target anew', async () => {
  const pool = aPool();
  const before = connections;
  await ask(pool);
  await ask(pool);
  await ask(pool, '/', { ...target });
  assert.equal(connections - before, 1);
  assert.deepEqual(pool.sizes(), { targets: 1, idle: 1, busy: 0 });
});

test('a connection whose answer was stopped with its last piece serves the next request', async () => {
  const pool = aPool();
  const before = connections;
  await ask(pool, '/', target, true);
  await ask(pool);
  assert.equal(connections - before, 1);
});

test('a target that is forgotten keeps no connection; what is under way goes on, and is not kept afterwards', async () => {
  const pool = aPool();
  await ask(pool);
  const slow = ask(pool, '/hold');
  await ask(pool);
  while (held.length === 0) await new Promise((resolve) => void setImmediate(resolve));
  pool.forget([{ ...target }]);
  assert.equal(pool.sizes().idle, 0);
  while (pool.sizes().busy > 1) await new Promise((resolve) => void setImmediate(resolve));
  assert.deepEqual(pool.sizes(), { targets: 0, idle: 0, busy: 1 });
  held.pop()?.end('late');
  await slow;
  await closed(pool);
  assert.deepEqual(pool.sizes(), { targets: 0, idle: 0, busy: 0 });
});

test('a late try of a target that is gone leaves nothing behind', async () => {
  const pool = aPool();
  await ask(pool);
  pool.forget([target]);
  await ask(pool);
  pool.closeIdle(target);
  await closed(pool);
  assert.deepEqual(pool.sizes(), { targets: 0, idle: 0, busy: 0 });
});
