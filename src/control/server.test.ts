import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { Failure, isFailure } from '../lib/failure.ts';
import { silentLog } from '../sys/log.ts';
import { createFixture, startFixture } from './server-fixture.ts';
import type { Fixture } from './server-fixture.ts';

interface Sent {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: unknown;
}

interface Request {
  readonly headers?: Record<string, string>;
  readonly payload?: unknown;
  readonly as?: string | null;
}

async function send(
  { server }: Fixture,
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
  url: string,
  request: Request = {},
): Promise<Sent> {
  const { payload, as = 'root' } = request;
  const reply = await server.inject({
    method,
    url,
    headers: { ...(as === null ? {} : { authorization: `Bearer ${as}` }), ...request.headers },
    ...(payload === undefined ? {} : { payload: typeof payload === 'string' ? payload : (payload as object) }), // inject takes objects as JSON
  });
  const text = reply.body;
  return { status: reply.statusCode, headers: reply.headers, body: text.startsWith('{') ? JSON.parse(text) : text };
}

const codeIn = ({ body }: Sent): unknown => (typeof body === 'object' && body !== null && 'code' in body ? body.code : undefined);
const detailIn = ({ body }: Sent): string => (typeof body === 'object' && body !== null && 'detail' in body ? String(body.detail) : '');

test('a reply holds only what its contract names', async () => {
  const reply = await send(createFixture(), 'GET', '/v1/items/a');
  assert.deepEqual([reply.status, reply.body], [200, { name: 'a', size: 1 }]);
});

test('every reply carries a request id: a sane one is kept, another is replaced', async () => {
  const fixture = createFixture();
  const kept = await send(fixture, 'GET', '/v1/items/a', { headers: { 'x-request-id': 'abc-12345' } });
  assert.equal(kept.headers['x-request-id'], 'abc-12345');
  const replaced = await send(fixture, 'GET', '/v1/nothing', { headers: { 'x-request-id': 'a b"c' } });
  assert.match(String(replaced.headers['x-request-id']), /^[0-9a-f-]{36}$/u);
  assert.deepEqual((replaced.body as { requestId: string }).requestId, replaced.headers['x-request-id']); // a problem document
});

test('no, a wrong and a too weak credential are told apart, before the body is looked at', async () => {
  const fixture = createFixture();
  const none = await send(fixture, 'POST', '/v1/items', { as: null, payload: '{broken', headers: { 'content-type': 'application/json' } });
  assert.deepEqual([none.status, codeIn(none), none.headers['www-authenticate']], [401, 'unauthenticated', 'Bearer realm="libra"']);
  assert.equal((await send(fixture, 'POST', '/v1/items', { as: 'wrong' })).status, 401);
  assert.equal((await send(fixture, 'POST', '/v1/items', { as: 'reader', payload: {} })).status, 403);
});

test('an object that is out of reach is refused after validation', async () => {
  const fixture = createFixture();
  assert.equal((await send(fixture, 'GET', '/v1/items/forbidden')).status, 403);
  assert.equal((await send(fixture, 'PUT', '/v1/items/forbidden', { payload: { size: 'x' } })).status, 400);
});

test('unknown fields of public input are refused at every depth and named', async () => {
  const fixture = createFixture();
  const deep = await send(fixture, 'PUT', '/v1/items/a', { payload: { size: 1, nested: { deep: true, extra: 1 } } });
  assert.equal(deep.status, 400);
  assert.match(detailIn(deep), /body\.nested.*extra/u);
  const query = await send(fixture, 'GET', '/v1/items?limit=3&colour=red');
  assert.match(detailIn(query), /colour/u);
  assert.match(detailIn(await send(fixture, 'GET', '/v1/items/a?colour=red')), /colour/u);
  assert.equal((await send(fixture, 'DELETE', '/v1/items/a', { payload: { really: true } })).status, 400);
});

test('internal input ignores unknown fields', async () => {
  const reply = await send(createFixture(), 'POST', '/v1/machine/report', { payload: { known: 1, fromTheFuture: 2 } });
  assert.deepEqual(reply.body, { keys: ['known'] });
});

test('bodies that are not JSON, too deep, too large or of another type are refused', async () => {
  const fixture = createFixture();
  const json = { 'content-type': 'application/json' };
  const put = (payload: string, headers: Record<string, string>): Promise<Sent> =>
    send(fixture, 'PUT', '/v1/items/a', { payload, headers });
  assert.equal(codeIn(await put('{"size":', json)), 'invalid_input');
  assert.equal(codeIn(await put('', json)), 'invalid_input');
  assert.match(detailIn(await put(`${'['.repeat(100)}${']'.repeat(100)}`, json)), /deeper/u);
  assert.match(detailIn(await put('{"size":1,"__proto__":{"x":1}}', json)), /__proto__/u);
  assert.deepEqual([(await put(`{"size":1,"pad":"${'x'.repeat(2000)}"}`, json)).status], [413]);
  const form = await put('size=1', { 'content-type': 'application/x-www-form-urlencoded' });
  assert.deepEqual([form.status, codeIn(form)], [415, 'invalid_input']);
});

test('path parameters cannot break out of a path', async () => {
  const fixture = createFixture();
  for (const item of ['%00', 'a%2Fb', 'a%5Cb', 'x'.repeat(300)]) {
    const reply = await send(fixture, 'GET', `/v1/items/${item}`);
    assert.deepEqual([reply.status, codeIn(reply)], [400, 'invalid_input'], item);
  }
});

test('an unexpected error shows nothing of its cause, and the log has it under the request id', async () => {
  const logged: Readonly<Record<string, unknown>>[] = [];
  const log = { ...silentLog, error: (fields: Readonly<Record<string, unknown>>) => void logged.push(fields) };
  const fixture = createFixture({ log });
  fixture.state.beforeCreate = async () => {
    throw new Error('password is hunter2');
  };
  const reply = await send(fixture, 'POST', '/v1/items', { payload: { name: 'x' } });
  assert.deepEqual([reply.status, codeIn(reply)], [500, 'internal']);
  assert.doesNotMatch(JSON.stringify(reply), /hunter2/u);
  assert.equal(logged[0]?.['requestId'], reply.headers['x-request-id']);
  assert.match(String(logged[0]?.['error']), /hunter2/u);
});

test('a handler that breaks its contract is a defect, not a reply', async () => {
  const fixture = createFixture();
  fixture.state.items.set('a', 'large' as unknown as number); // a defect, on purpose
  assert.equal(codeIn(await send(fixture, 'GET', '/v1/items/a')), 'internal');
});

test('unknown paths name the nearest one, other methods say what is allowed', async () => {
  const fixture = createFixture();
  const path = await send(fixture, 'GET', '/v1/item');
  assert.deepEqual([path.status, (path.body as { hint: string }).hint], [404, 'Did you mean /v1/items?']); // a problem document
  const method = await send(fixture, 'PATCH', '/v1/items/a');
  assert.deepEqual([method.status, method.headers['allow']], [405, 'GET, PUT, DELETE, HEAD']);
  const socket = await send(fixture, 'GET', '/v1/items/a/socket');
  assert.deepEqual([socket.status, socket.headers['upgrade']], [426, 'websocket']);
});

test('HEAD answers as GET without a body', async () => {
  const fixture = createFixture();
  const get = await send(fixture, 'GET', '/v1/items/a');
  const head = await send(fixture, 'HEAD', '/v1/items/a');
  assert.deepEqual([head.status, head.body, head.headers['etag']], [200, '', get.headers['etag']]);
  assert.equal(head.headers['content-length'], get.headers['content-length']);
});

test('an ETag follows the reply, If-None-Match saves it', async () => {
  const fixture = createFixture();
  const etag = String((await send(fixture, 'GET', '/v1/items/a')).headers['etag']);
  assert.equal((await send(fixture, 'GET', '/v1/items/a', { headers: { 'if-none-match': etag } })).status, 304);
  fixture.state.items.set('a', 2);
  assert.equal((await send(fixture, 'GET', '/v1/items/a', { headers: { 'if-none-match': etag } })).status, 200);
});

test('If-Match writes only what was read, and of two at once one wins', async () => {
  const fixture = createFixture();
  const etag = String((await send(fixture, 'GET', '/v1/items/a')).headers['etag']);
  const put = (size: number, match: string): Promise<Sent> =>
    send(fixture, 'PUT', '/v1/items/a', { payload: { size }, headers: { 'if-match': match } });
  const both = await Promise.all([put(2, etag), put(3, etag)]);
  assert.deepEqual(new Set(both.map(({ status }) => status)), new Set([200, 412]));
  assert.equal((await put(4, '"old"')).status, 412);
  assert.equal((await put(4, '*')).status, 200);
  const missing = await send(fixture, 'PUT', '/v1/items/none', { payload: { size: 1 }, headers: { 'if-match': '*' } });
  assert.equal(missing.status, 412);
});

test('If-Match where nothing can be compared is refused instead of being ignored', async () => {
  const reply = await send(createFixture(), 'POST', '/v1/machine/report', { payload: { known: 1 }, headers: { 'if-match': '"x"' } });
  assert.equal(reply.status, 400);
});

test('lists page by cursor without a gap or a repeat', async () => {
  const fixture = createFixture();
  for (let n = 0; n < 25; n += 1) fixture.state.items.set(`n${String(n).padStart(2, '0')}`, n);
  const seen: string[] = [];
  let cursor = '';
  for (let pages = 0; pages < 10; pages += 1) {
    const reply = await send(fixture, 'GET', `/v1/items?limit=10${cursor === '' ? '' : `&cursor=${cursor}`}`);
    const body = reply.body as { items: { name: string }[]; next: string | null }; // the list's reply
    seen.push(...body.items.map(({ name }) => name));
    if (pages === 0) fixture.state.items.delete(body.items.at(-1)?.name ?? '');
    if (body.next === null) break;
    cursor = body.next;
  }
  assert.equal(seen.length, 26);
  assert.equal(new Set(seen).size, 26);
  assert.equal((await send(fixture, 'GET', '/v1/items?cursor=garbage')).status, 400);
});

test('pages of other sites and foreign host names are refused', async () => {
  const fixture = createFixture({ allowedHosts: ['platform.test'] });
  const status = async (headers: Record<string, string>, method: 'GET' | 'DELETE' = 'GET'): Promise<number> =>
    (await send(fixture, method, '/v1/items/a', { headers })).status;
  for (const host of ['localhost:7400', '127.0.0.1:7400', '[::1]:7400', 'libra.localhost:8080', 'platform.test']) {
    assert.equal(await status({ host }), 200, host);
  }
  for (const host of ['evil.example', 'localhost.evil.example:7400', '127.0.0.1.evil.example'])
    assert.equal(await status({ host }), 403, host);
  assert.equal(await status({ host: 'localhost:7400', origin: 'http://localhost:7400' }), 200);
  for (const origin of ['http://evil.example', 'null', 'http://localhost:1', 'http://hello.localhost:8080']) {
    assert.equal(await status({ host: 'localhost:7400', origin }), 403, origin);
  }
  assert.equal(await status({ 'sec-fetch-site': 'cross-site' }, 'DELETE'), 403);
});

test('each write of the public contract is reported once, with its outcome and without its body', async () => {
  const fixture = createFixture();
  await send(fixture, 'GET', '/v1/items/a');
  await send(fixture, 'PUT', '/v1/items/a', { payload: { size: 987654 } });
  await send(fixture, 'PUT', '/v1/items/a', { payload: { size: 987654 }, as: 'reader' });
  await send(fixture, 'DELETE', '/v1/items/none');
  await send(fixture, 'POST', '/v1/machine/report', { payload: { known: 1 } });
  assert.deepEqual(
    fixture.audits.map(({ endpoint, status, code, principal, params }) => [endpoint, status, code, principal.name, params['item']]),
    [
      ['items.put', 200, null, 'root', 'a'],
      ['items.put', 403, 'forbidden', 'reader', 'a'],
      ['items.delete', 404, 'not_found', 'root', 'none'],
    ],
  );
  assert.doesNotMatch(JSON.stringify(fixture.audits), /987654/u);
});

test('metrics need platform.read, the OpenAPI document needs nothing', async () => {
  const fixture = createFixture();
  assert.equal((await send(fixture, 'GET', '/metrics', { as: null })).status, 401);
  assert.equal((await send(fixture, 'GET', '/metrics', { as: 'reader' })).status, 403);
  assert.deepEqual((await send(fixture, 'GET', '/metrics')).body, 'up 1\n');
  const document = await send(fixture, 'GET', '/v1/openapi.json', { as: null });
  assert.equal((document.body as { openapi: string }).openapi, '3.1.0'); // an OpenAPI document
});

test('garbage never makes a 500', async () => {
  const fixture = createFixture();
  const garbage = fc.oneof(
    fc.json(),
    fc.string(),
    fc.jsonValue().map((value) => JSON.stringify({ size: value, name: value })),
  );
  const method = fc.constantFrom('GET' as const, 'POST' as const, 'PUT' as const, 'DELETE' as const);
  const url = fc.oneof(fc.constantFrom('/v1/items', '/v1/items/a', '/v1/machine/report'), fc.webPath());
  const query = fc.oneof(
    fc.constant(''),
    fc.webQueryParameters().map((text) => `?${text}`),
  );
  const type = fc.constantFrom('application/json', 'application/json; charset=utf-8', 'text/plain', 'x');
  await fc.assert(
    fc.asyncProperty(method, url, query, garbage, type, async (verb, path, search, payload, contentType) => {
      const headers = { 'content-type': contentType };
      const reply = await send(fixture, verb, `/${path.replace(/^\/+/u, '')}${search}`, verb === 'GET' ? {} : { payload, headers });
      assert.ok(reply.status < 500, `${verb} ${path}${search} ${payload} → ${reply.status}`);
    }),
    { numRuns: 300 },
  );
});

test('off loopback a plain API is not opened', async () => {
  await assert.rejects(createFixture().server.start({ host: '0.0.0.0', port: 0 }), (error) => isFailure(error, 'invalid_input'));
});

test('a taken port is named', async () => {
  const first = await startFixture();
  await assert.rejects(
    createFixture().server.start({ host: '127.0.0.1', port: first.port }),
    (error) => isFailure(error, 'port_taken') && error.message.includes(String(first.port)),
  );
  await first.server.stop();
});

test('a handler that never ends is answered for at its deadline', async () => {
  const fixture = createFixture({ limits: { handlerMs: 30 } });
  let aborted = false;
  fixture.state.beforeCreate = ({ signal }) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        aborted = true;
        reject(new Failure('canceled', { message: 'Stopped.' }));
      });
    });
  const reply = await send(fixture, 'POST', '/v1/items', { payload: { name: 'x' } });
  assert.deepEqual([codeIn(reply), aborted], ['timeout', true]);
});

test('a write that lost a race is made again, one that is refused for a reason is not', async () => {
  const fixture = createFixture();
  let calls = 0;
  const refuse = (details: Readonly<Record<string, unknown>> | undefined, times: number): void => {
    calls = 0;
    fixture.state.beforeCreate = async () => {
      calls += 1;
      if (calls <= times) throw new Failure('conflict', { message: 'changed meanwhile', details });
    };
  };
  const create = (): Promise<Sent> => send(fixture, 'POST', '/v1/items', { payload: { name: 'x' } });
  refuse({ collection: 'items', id: 'x' }, 3);
  assert.deepEqual([(await create()).status, calls], [201, 4]);
  refuse({ collection: 'items', id: 'x' }, 1000);
  assert.deepEqual([codeIn(await create()), calls], ['conflict', 10]);
  refuse(undefined, 1);
  assert.deepEqual([codeIn(await create()), calls], ['conflict', 1]);
});
