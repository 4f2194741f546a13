import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { createFakeClock } from '../lib/clock.ts';
import { Failure, isFailure } from '../lib/failure.ts';
import type { FailureCode } from '../lib/failure.ts';
import { createSeededRandom } from '../lib/id.ts';
import { createClient, socketUrl } from './client.ts';
import type { Client, ClientOptions } from './client.ts';
import { problemOf } from './problem.ts';
import { table } from './table.ts';
import type { ApiTable } from './table.ts';

type Fetch = NonNullable<ClientOptions['fetch']>;
interface Seen {
  readonly url: string;
  readonly init: Parameters<Fetch>[1];
}

function clientWith(
  answer: (seen: Seen, count: number) => Response | Promise<Response>,
  options: Partial<ClientOptions> = {},
): {
  readonly client: Client<ApiTable>;
  readonly seen: Seen[];
} {
  const seen: Seen[] = [];
  const client = createClient(table, {
    url: 'http://platform:7400/',
    token: 'secret',
    random: createSeededRandom(1),
    fetch: async (url, init) => {
      seen.push({ url, init });
      return await answer({ url, init }, seen.length);
    },
    ...options,
  });
  return { client, seen };
}

const json = (value: unknown, status = 200): Response => new Response(JSON.stringify(value), { status });
const failing = (code: FailureCode, details?: Readonly<Record<string, unknown>>): Response => {
  const problem = problemOf(new Failure(code, { message: 'why', hint: 'then', details }), 'request-1');
  return json(problem, problem.status);
};
const refused = (): never => {
  throw new TypeError('fetch failed', { cause: Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }) });
};
/** Never answers, but notices an abort. */
const silent = ({ init }: Seen): Promise<Response> =>
  new Promise((_resolve, reject) => {
    const abort = (): void => reject(init.signal.reason);
    if (init.signal.aborted) abort();
    init.signal.addEventListener('abort', abort);
  });
const codeOf = async (call: Promise<unknown>): Promise<string> => {
  try {
    await call;
    return 'no failure';
  } catch (error) {
    return isFailure(error) ? error.code : String(error);
  }
};

test('parameters, query and body become a request with the credential', async () => {
  const { client, seen } = clientWith(() => json({}));
  await client.deployments.list({ params: { app: 'a b', environment: 'production' }, query: { limit: 5 } });
  await client.apps.create({ body: { name: 'shop' }, idempotencyKey: 'k1', ifMatch: '"v"' });
  assert.equal(seen[0]?.url, 'http://platform:7400/v1/apps/a%20b/environments/production/deployments?limit=5');
  assert.equal(new Headers(seen[0]?.init.headers).get('authorization'), 'Bearer secret');
  const headers = new Headers(seen[1]?.init.headers);
  assert.deepEqual(
    [headers.get('idempotency-key'), headers.get('if-match'), headers.get('content-type')],
    ['k1', '"v"', 'application/json'],
  );
  assert.equal(seen[1]?.init.body, '{"name":"shop"}');
});

test('a path parameter that would change the path is refused before anything is sent', async () => {
  const { client, seen } = clientWith(() => json({}));
  for (const app of ['', '.', '..']) assert.equal(await codeOf(client.apps.get({ params: { app } })), 'invalid_input');
  assert.equal(seen.length, 0);
});

test('a problem document becomes the same Failure', async () => {
  const { client } = clientWith(() => failing('plan_refused', { a: 1 }));
  await assert.rejects(client.apps.list(), (error) => {
    assert.ok(isFailure(error, 'plan_refused'));
    assert.deepEqual([error.message, error.hint, error.details], ['why', 'then', { a: 1 }]);
    return true;
  });
});

test('something else on the port is not taken for the platform', async () => {
  const { client } = clientWith(() => new Response('<html>', { status: 200 }));
  assert.equal(await codeOf(client.apps.list()), 'unreachable');
});

test('a refused connection is retried for reads a bounded number of times, then says how to start', async () => {
  const { client, seen } = clientWith(refused);
  await assert.rejects(client.apps.list(), (error) => isFailure(error, 'unreachable') && /libra up/u.test(error.hint ?? ''));
  assert.equal(seen.length, 3);
});

test('a write is retried only with an idempotency key', async () => {
  const plain = clientWith(refused);
  assert.equal(await codeOf(plain.client.apps.create({ body: { name: 'x' } })), 'unreachable');
  assert.equal(plain.seen.length, 1);
  const keyed = clientWith((_seen, count) => (count < 3 ? refused() : json({ name: 'x' }, 201)));
  await keyed.client.apps.create({ body: { name: 'x' }, idempotencyKey: 'k' });
  assert.equal(keyed.seen.length, 3);
});

test('a retry that meets its own first try still at work waits for it', async () => {
  const { client, seen } = clientWith((_seen, count) => (count === 1 ? failing('conflict', { inFlight: true }) : json({}, 201)));
  await client.apps.create({ body: { name: 'x' }, idempotencyKey: 'k' });
  assert.equal(seen.length, 2);
});

test('other conflicts are told at once', async () => {
  const { client, seen } = clientWith(() => failing('conflict'));
  assert.equal(await codeOf(client.apps.create({ body: { name: 'x' }, idempotencyKey: 'k' })), 'conflict');
  assert.equal(seen.length, 1);
});

test('a call without an answer ends at its deadline', async () => {
  const clock = createFakeClock();
  const { client } = clientWith(silent, { clock });
  const call = codeOf(client.apps.list({ timeoutMs: 5000 }));
  await clock.advance(5001);
  assert.equal(await call, 'timeout');
});

test("the caller's abort comes through with its own reason", async () => {
  const { client } = clientWith(silent);
  const controller = new AbortController();
  const call = client.apps.list({ signal: controller.signal });
  controller.abort(new Error('mine'));
  await assert.rejects(call, /mine/u);
});

test('an empty reply is undefined', async () => {
  const { client } = clientWith(() => new Response(null, { status: 204 }));
  assert.equal(await client.secrets.delete({ params: { app: 'a', environment: 'e', secret: 's' } }), undefined);
});

const sse = (text: string): Response => new Response(text, { status: 200, headers: { 'content-type': 'text/event-stream' } });

test('a broken stream goes on after the last id, until it ends', async () => {
  const { client, seen } = clientWith((_seen, count) => {
    if (count === 1) return sse('id: 1\ndata: {"text":"a"}\n\nid: 2\ndata: {"text":"b"}\n\nid: 3\ndata: {"te');
    if (count === 2) return failing('unavailable');
    return sse('id: 3\ndata: {"text":"c"}\n\nevent: end\ndata: {}\n\n');
  });
  const got: string[] = [];
  const reasons: string[] = [];
  for await (const line of client.instances.logs({
    params: { app: 'a', environment: 'e' },
    query: { follow: true },
    onReconnect: (attempt, why) => reasons.push(`${attempt} ${isFailure(why) ? why.code : why.message}`),
  })) {
    got.push(line.text);
  }
  assert.deepEqual(got, ['a', 'b', 'c']);
  assert.deepEqual(
    seen.map(({ init }) => new Headers(init.headers).get('last-event-id')),
    [null, '2', '2'],
  );
  assert.deepEqual(reasons, ['1 the connection was closed', '2 unavailable']);
});

test('a stream ends with the problem that the server tells of, unless waiting mends it', async () => {
  const problem = JSON.stringify(problemOf(new Failure('compacted', { message: 'too old' }), 'r'));
  const { client, seen } = clientWith(() => sse(`id: 1\ndata: {}\n\nevent: problem\ndata: ${problem}\n\n`));
  const drain = async (): Promise<void> => {
    for await (const item of client.events.follow()) assert.ok(item);
  };
  assert.equal(await codeOf(drain()), 'compacted');
  assert.equal(seen.length, 1);
});

test('a stream that is refused at the start is not asked for again', async () => {
  const { client, seen } = clientWith(() => failing('not_found'));
  const drain = async (): Promise<void> => {
    for await (const item of client.events.follow()) assert.fail(item.id);
  };
  assert.equal(await codeOf(drain()), 'not_found');
  assert.equal(seen.length, 1);
});

test('a patient stream waits for a platform that is not there yet', async () => {
  const { client, seen } = clientWith((_seen, count) => (count < 6 ? refused() : sse('event: end\ndata: {}\n\n')), {
    clock: { ...createFakeClock(), sleep: async () => undefined },
  });
  for await (const item of client.events.follow({ giveUpAfterMs: Infinity })) assert.fail(item.id);
  assert.equal(seen.length, 6);
});

test('calls that may be repeated, and streams, wait for a control plane that leads, but not for ever', async () => {
  const moving = { moving: true };
  const timed = (): ReturnType<typeof createFakeClock> & { sleep: (ms: number) => Promise<void> } => {
    const fake = createFakeClock();
    return { ...fake, sleep: (ms: number) => fake.advance(ms) };
  };
  const later = clientWith((_seen, count) => (count < 9 ? failing('unavailable', moving) : json({ items: [], next: null })), {
    clock: timed(),
  });
  assert.deepEqual((await later.client.apps.list()).items, []);
  const stream = clientWith((_seen, count) => (count < 9 ? failing('unavailable', moving) : sse('event: end\ndata: {}\n\n')), {
    clock: timed(),
  });
  for await (const item of stream.client.events.follow()) assert.fail(item.id);
  assert.equal(stream.seen.length, 9);
  const clock = timed();
  const never = clientWith(() => failing('unavailable', moving), { clock, timeoutMs: 120_000 });
  assert.equal(await codeOf(never.client.apps.list()), 'unavailable');
  assert.ok(clock.monotonic() >= 20_000 && clock.monotonic() < 25_000, String(clock.monotonic()));
  const once = clientWith(() => failing('unavailable', moving), { clock: timed() });
  assert.equal(await codeOf(once.client.apps.create({ body: { name: 'x' } })), 'unavailable', 'a write without a key is not repeated');
  assert.equal(once.seen.length, 1);
  const untouched = clientWith(
    (_seen, count) =>
      count < 9 ? failing('unavailable', { moving: true, untouched: true }) : json({ id: 'a', name: 'x', createdAtMs: 1 }),
    { clock: timed() },
  );
  await untouched.client.apps.create({ body: { name: 'x' } });
  assert.equal(untouched.seen.length, 9, 'what nobody has begun is asked for again');
  const other = clientWith(() => failing('unavailable'), { clock: timed() });
  assert.equal(await codeOf(other.client.apps.list()), 'unavailable');
  assert.equal(other.seen.length, 1);
});

test('an established stream gives up when nothing answers for too long', async () => {
  const fake = createFakeClock();
  const clock = { ...fake, sleep: (ms: number) => fake.advance(ms) };
  const { client } = clientWith((_seen, count) => (count === 1 ? sse('id: 1\ndata: {}\n\n') : refused()), { clock });
  const drain = async (): Promise<void> => {
    for await (const item of client.events.follow({ giveUpAfterMs: 30_000 })) assert.ok(item);
  };
  assert.equal(await codeOf(drain()), 'unreachable');
  assert.ok(clock.monotonic() >= 30_000 && clock.monotonic() < 45_000, String(clock.monotonic()));
});

test('a consumer that takes its time does not break its stream', async () => {
  const clock = createFakeClock();
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => {
      for (const text of ['id: 1\ndata: {}\n\n', 'id: 2\ndata: {}\n\nevent: end\ndata: {}\n\n'])
        controller.enqueue(new TextEncoder().encode(text));
    },
  });
  const { client, seen } = clientWith(() => new Response(body), { clock });
  let items = 0;
  for await (const item of client.events.follow()) {
    assert.ok(item);
    items += 1;
    await clock.advance(10 * 60_000);
  }
  assert.deepEqual([items, seen.length], [2, 1]);
});

test('a connection that falls silent is given up and made again', async () => {
  const clock = createFakeClock();
  const { client, seen } = clientWith(
    ({ init }, count) => {
      if (count > 1) return sse('event: end\ndata: {}\n\n');
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => init.signal?.addEventListener('abort', () => controller.error(init.signal?.reason)),
      });
      return new Response(body);
    },
    { clock: { ...clock, sleep: async () => undefined } },
  );
  const drained = (async () => {
    for await (const item of client.events.follow()) assert.fail(item.id);
  })();
  await clock.advance(60_000);
  await drained;
  assert.equal(seen.length, 2);
});

test('leaving a stream early closes its connection', async () => {
  let canceled = false;
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new TextEncoder().encode('id: 1\ndata: {}\n\n')),
    cancel: () => {
      canceled = true;
    },
  });
  const { client } = clientWith(() => new Response(body));
  for await (const item of client.events.follow()) {
    assert.ok(item);
    break;
  }
  assert.ok(canceled);
});

test('socket addresses carry parameters and query', () => {
  const url = socketUrl('https://host:1/', table.instances.exec, {
    params: { app: 'a', environment: 'e', instance: 'i' },
    query: { command: '["ls"]' },
  });
  assert.equal(url, 'wss://host:1/v1/apps/a/environments/e/instances/i/exec?command=%5B%22ls%22%5D');
});

test('loading the client and the table loads no zod', async () => {
  const script = `
    const { registerHooks } = await import('node:module');
    registerHooks({ load: (url, context, next) => { if (url.includes('/zod/')) process.exitCode = 7; return next(url, context); } });
    await Promise.all([import(${JSON.stringify(import.meta.resolve('./client.ts'))}), import(${JSON.stringify(import.meta.resolve('./table.ts'))})]);
    console.log('loaded');`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  assert.equal(stdout.trim(), 'loaded');
});
