// What Routes ask and do, through a real Edge.

import assert from 'node:assert/strict';
import { randomBytes, scryptSync } from 'node:crypto';
import { after, before, test } from 'node:test';
import { routeKey } from '../model/route-match.ts';
import type { RouteTo } from '../model/route-match.ts';
import type { RoutePolicy } from '../model/route-policy.ts';
import { call, group, read, startEdge, startInstance, text, until } from './edge-fixture.ts';
import type { CallOptions, Reply, TestEdge, TestInstance } from './edge-fixture.ts';

const HOST = 'app.localhost';
let edge: TestEdge;
let app: TestInstance;
let other: TestInstance;
let slow = 0;

before(async () => {
  edge = await startEdge();
  const told = async (
    name: string,
    request: Parameters<Parameters<typeof startInstance>[1]>[0],
    response: Parameters<Parameters<typeof startInstance>[1]>[1],
  ): Promise<void> => {
    if (request.url?.startsWith('/hang') === true) {
      slow += 1;
      return;
    }
    if (request.url?.startsWith('/drip') === true) {
      response.writeHead(200, { 'content-type': request.url === '/drip/events' ? 'text/event-stream' : 'text/plain' });
      const timer = setInterval(() => response.write('data: drop\n\n'), 10);
      response.on('close', () => clearInterval(timer));
      return;
    }
    const body = await read(request).catch(() => Buffer.alloc(0));
    if (response.destroyed) return;
    response.setHeader('x-app', name);
    response.setHeader('access-control-allow-origin', 'https://forged.example');
    text(response, JSON.stringify({ name, url: request.url, headers: request.headers, body: body.length }));
  };
  app = await startInstance('app', (request, response) => void told('app', request, response));
  other = await startInstance('other', (request, response) => void told('other', request, response));
});
after(async () => {
  await edge.stop();
  await app.kill();
  await other.kill();
});

const serve = (...routes: readonly (Partial<RouteTo> & { readonly group?: string })[]): Promise<void> =>
  edge.install({
    rules: routes.map((route) => ({ host: HOST, path: '/', headers: {}, group: 'app', ...route })),
    groups: [group('app', [app.target]), group('other', [other.target])],
  });
const only = (policy: RoutePolicy, more: Partial<RouteTo> = {}): Promise<void> => serve({ ...more, policy });
interface Told {
  readonly name: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: number;
}
const told = (reply: Reply): Told => JSON.parse(reply.body.toString()) as Told; // what our own Instance wrote
const ask = (path: string, options: CallOptions = {}): Promise<Reply> => call(edge.port, HOST, path, options);

test('a request goes by method, header, query, cookie, source, exact path and pattern', async () => {
  await serve(
    {},
    { path: '/login', pathType: 'exact', group: 'other' },
    { path: '/v(\\d+)/.*', pathType: 'pattern', group: 'other' },
    { path: '/m', methods: ['PUT'], group: 'other' },
    { path: '/h', headers: { 'user-agent': { pattern: '.*Bot.*' } }, group: 'other' },
    { path: '/q', headers: {}, query: { beta: '1 2' }, group: 'other' },
    { path: '/c', headers: {}, cookies: { tester: { present: true } }, group: 'other' },
    { path: '/s', headers: {}, sources: ['127.0.0.0/8'], group: 'other' },
    { path: '/n', headers: {}, sources: ['10.0.0.0/8'], group: 'other' },
  );
  const cases: readonly (readonly [string, CallOptions, string])[] = [
    ['/login', {}, 'other'],
    ['/login/x', {}, 'app'],
    ['/v12/x', {}, 'other'],
    ['/v/x', {}, 'app'],
    ['/m', { method: 'PUT' }, 'other'],
    ['/m', {}, 'app'],
    ['/h', { headers: { 'user-agent': 'a Bot 1' } }, 'other'],
    ['/h', { headers: { 'user-agent': 'a browser' } }, 'app'],
    ['/q?a=b&beta=1+2', {}, 'other'],
    ['/q?beta=2', {}, 'app'],
    ['/c', { headers: { cookie: 'x=1; tester=' } }, 'other'],
    ['/c', { headers: { cookie: 'x=tester' } }, 'app'],
    ['/s', {}, 'other'],
    ['/n', {}, 'app'],
  ];
  for (const [path, options, expected] of cases) assert.equal(told(await ask(path, options)).name, expected, path);
});

test('one Route can be put and taken while the others stay', async () => {
  await serve({});
  const added = { host: HOST, path: '/new', headers: {}, group: 'other' };
  await edge.change([added], []);
  assert.equal(told(await ask('/new')).name, 'other');
  assert.equal(told(await ask('/')).name, 'app');
  await edge.change([], [routeKey(added)]);
  assert.equal(told(await ask('/new')).name, 'app');
});

test('redirects keep what they do not name, and the query', async () => {
  const cases: readonly (readonly [RoutePolicy['redirect'], Partial<RouteTo>, string, number, string])[] = [
    [{ status: 301, host: 'new.example' }, {}, '/a?b=1', 301, 'http://new.example/a?b=1'],
    [{ status: 302, scheme: 'https', port: 444 }, {}, '/a', 302, `https://${HOST}:444/a`],
    [{ status: 307, path: { kind: 'full', value: '/x' } }, {}, '/a', 307, `http://${HOST}/x`],
    [{ status: 308, path: { kind: 'prefix', value: '/new' } }, { path: '/old' }, '/old/a', 308, `http://${HOST}/new/a`],
    [
      { status: 303, path: { kind: 'pattern', value: '/items/$2/$1' } },
      { path: '/(\\w+)/(\\w+)', pathType: 'pattern' },
      '/a/b?c',
      303,
      `http://${HOST}/items/b/a?c`,
    ],
  ];
  for (const [redirect, more, path, status, location] of cases) {
    assert.ok(redirect !== undefined);
    await only({ redirect }, more);
    const reply = await ask(path, { method: 'POST', body: 'unread' });
    assert.deepEqual([reply.status, reply.headers.location, reply.body.length], [status, location, 0]);
  }
});

test('http is sent to https, unless a trusted hop had it', async () => {
  await only({ https: 'redirect' });
  const reply = await ask('/a?b');
  assert.deepEqual([reply.status, reply.headers.location], [308, `https://${HOST}/a?b`]);
});

test('paths and hosts are rewritten, and what comes of a path is canonical or refused', async () => {
  await only({ rewrite: { host: 'inner.example', path: { kind: 'prefix', value: '/api' } } }, { path: '/shop' });
  const seen = told(await ask('/shop/x?y=1'));
  assert.deepEqual([seen.url, seen.headers['host'], seen.headers['x-forwarded-host']], ['/api/x?y=1', 'inner.example', HOST]);
  assert.equal(told(await ask('/shop')).url, '/api');
  await only({ rewrite: { path: { kind: 'pattern', value: '/$1/../$2' } } }, { path: '/(.*)/to/(.*)', pathType: 'pattern' });
  assert.equal(told(await ask('/a/to/b')).url, '/b');
  await only({ rewrite: { path: { kind: 'pattern', value: '$1' } } }, { path: '/(.*)', pathType: 'pattern' });
  assert.equal((await ask('/x')).status, 400);
});

test('header fields are removed, set and added, of requests and of answers', async () => {
  await only({
    requestHeaders: { remove: ['X-Gone'], set: { 'x-set': 'by the Route' }, add: { 'x-more': 'two' } },
    responseHeaders: { remove: ['x-app'], set: { 'cache-control': 'no-store' }, add: { 'x-served-by': 'libra' } },
  });
  const reply = await ask('/', { headers: { 'x-gone': '1', 'x-set': 'by the client', 'x-more': 'one' } });
  const { headers } = told(reply);
  assert.deepEqual([headers['x-gone'], headers['x-set'], headers['x-more']], [undefined, 'by the Route', 'one, two']);
  assert.deepEqual(
    [reply.headers['x-app'], reply.headers['cache-control'], reply.headers['x-served-by']],
    [undefined, 'no-store', 'libra'],
  );
});

test('CORS: pages of the origins that are named may read, a preflight is answered here', async () => {
  const cors = {
    origins: ['https://*.shop.example'],
    methods: ['GET', 'PUT'],
    headers: ['x-token'],
    expose: ['x-app'],
    credentials: true,
    maxAgeS: 60,
  };
  await only({ cors });
  const origin = 'https://a.shop.example';
  const reply = await ask('/', { headers: { origin } });
  assert.equal(reply.headers['access-control-allow-origin'], origin);
  assert.equal(reply.headers['access-control-allow-credentials'], 'true');
  assert.equal(reply.headers['access-control-expose-headers'], 'x-app');
  assert.equal(reply.headers.vary, 'Origin');
  for (const stranger of ['https://shop.example', 'https://a.shop.example.evil', 'http://a.shop.example', 'null'])
    assert.equal((await ask('/', { headers: { origin: stranger } })).headers['access-control-allow-origin'], undefined, stranger);
  const preflight = (method: string, headers: string): Promise<Reply> =>
    ask('/', {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': method, 'access-control-request-headers': headers },
    });
  const allowed = await preflight('PUT', 'X-Token');
  assert.deepEqual(
    [
      allowed.status,
      allowed.headers['access-control-allow-methods'],
      allowed.headers['access-control-allow-headers'],
      allowed.headers['access-control-max-age'],
    ],
    [204, 'GET, PUT', 'x-token', '60'],
  );
  assert.equal((await preflight('DELETE', '')).headers['access-control-allow-origin'], undefined);
  assert.equal((await preflight('PUT', 'x-other')).headers['access-control-allow-origin'], undefined);
  // A plain OPTIONS is the App's.
  assert.equal(told(await ask('/', { method: 'OPTIONS' })).name, 'app');
});

test('addresses that may not ask get 403, whatever is said about them', async () => {
  await only({ allow: ['10.0.0.0/8'] });
  assert.equal((await ask('/', { headers: { 'x-forwarded-for': '10.0.0.1' } })).status, 403);
  await only({ allow: ['127.0.0.0/8'], deny: ['127.0.0.1'] });
  assert.equal((await ask('/')).status, 403);
  await only({ allow: ['127.0.0.0/8'], deny: ['10.0.0.0/8'] });
  assert.equal((await ask('/')).status, 200);
});

test('a rate limit says what is left, and when to come back', async () => {
  await only({ rateLimit: { requests: 1, perMs: 60_000, burst: 2, by: { header: 'x-key' } } });
  const of = (key: string): Promise<Reply> => ask('/', { headers: { 'x-key': key } });
  const first = await of('a');
  assert.deepEqual([first.status, first.headers['ratelimit-limit'], first.headers['ratelimit-remaining']], [200, '2', '1']);
  assert.equal((await of('a')).status, 200);
  const refused = await of('a');
  assert.deepEqual([refused.status, refused.headers['ratelimit-remaining'], refused.headers['retry-after']], [429, '0', '60']);
  assert.equal((await of('b')).status, 200);
});

test('a password lets in, is not passed on, and wrong tries are slowed down', async () => {
  const salt = randomBytes(16);
  const key = scryptSync('öpen sesame', salt, 32, { cost: 2 ** 10, blockSize: 8, parallelization: 1 });
  const plain = (bytes: Buffer): string => bytes.toString('base64').replace(/=+$/u, '');
  await only({ auth: { realm: 'staff', users: { anna: `$scrypt$ln=10,r=8,p=1$${plain(salt)}$${plain(key)}` } } });
  const as = (credentials: string): Promise<Reply> =>
    ask('/', { headers: { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` } });
  const asked = await ask('/');
  assert.deepEqual([asked.status, asked.headers['www-authenticate']], [401, 'Basic realm="staff", charset="UTF-8"']);
  for (let round = 0; round < 2; round += 1) {
    const reply = await as('anna:öpen sesame');
    assert.equal(reply.status, 200);
    assert.equal(told(reply).headers['authorization'], undefined);
  }
  assert.equal((await as('anna:wrong')).status, 401);
  assert.equal((await as('bert:öpen sesame')).status, 401);
  const statuses = new Set<number>();
  for (let round = 0; round < 12; round += 1) statuses.add((await as(`anna:${round}`)).status);
  assert.ok(statuses.has(429));
  // Who was right before is still let in.
  assert.equal((await as('anna:öpen sesame')).status, 200);
});

test('a body may be so long and no longer, said or not', async () => {
  await only({ bodyBytes: 1_000 });
  assert.equal(told(await ask('/', { method: 'POST', body: Buffer.alloc(1_000) })).body, 1_000);
  assert.equal((await ask('/', { method: 'POST', body: Buffer.alloc(1_001) })).status, 413);
  assert.equal((await ask('/', { method: 'POST', body: Buffer.alloc(200_000), headers: { 'transfer-encoding': 'chunked' } })).status, 413);
  assert.equal(told(await ask('/', { method: 'POST', body: Buffer.alloc(900), headers: { 'transfer-encoding': 'chunked' } })).body, 900);
});

test('a Route gives an answer so long to begin', async () => {
  await only({ timeoutMs: 100 });
  const began = performance.now();
  assert.equal((await ask('/hang')).status, 504);
  assert.ok(performance.now() - began < 2_000);
  assert.equal(slow, 1);
  assert.equal((await ask('/')).status, 200);
  await until('nothing is open', () => edge.edge.health().open === 0);
});

test('an App has pages of its own, for people; programs get what they ask for', async () => {
  const down = {
    ...group('app', [], 'down'),
    pages: { unavailable: '<h1>Back soon</h1>{{status}} {{request}}', default: '<h1>Sorry</h1>' },
  };
  await edge.install({ rules: [{ host: HOST, path: '/', headers: {}, group: 'app' }], groups: [down] });
  const page = await ask('/', { headers: { accept: 'text/html' } });
  assert.deepEqual([page.status, page.headers['content-type']], [503, 'text/html; charset=utf-8']);
  assert.equal(page.body.toString(), `<h1>Back soon</h1>503 ${String(page.headers['x-request-id'])}`);
  assert.equal(
    (JSON.parse((await ask('/', { headers: { accept: 'application/json' } })).body.toString()) as { code: string }).code,
    'no_instance',
  ); // our own problem document
  await edge.put({ ...down, state: 'stopped' });
  assert.equal((await ask('/', { headers: { accept: 'text/html' } })).body.toString(), '<h1>Sorry</h1>');
  await edge.put({ ...group('app', [], 'down') });
  assert.match((await ask('/', { headers: { accept: 'text/html' } })).body.toString(), /No healthy Instance/u);
});

test('what is still under way when its time in all is over is ended: with a page, politely, or broken off', async () => {
  await only({ totalTimeoutMs: 150, timeoutMs: 10_000 });
  const hung = await ask('/hang');
  assert.equal(hung.status, 504);
  const events = await ask('/drip/events');
  assert.equal(events.status, 200);
  assert.match(events.body.toString(), /^(?:data: drop\n\n)+$/u);
  await assert.rejects(ask('/drip'), /aborted|ECONNRESET|hang up/u);
  assert.equal((await ask('/')).status, 200);
  await until('nothing is open any longer', () => edge.edge.health().open === 0);
});
