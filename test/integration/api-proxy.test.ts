// Apps that call each other: by the variables that they get, with the token that they have, as both manifests declare it; also while control
// is gone.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { writeApp } from '../fixtures/app-folder.ts';
import { Platform, until } from '../platform.ts';

const SECONDS_MS = 20_000;

const BILLING = `
import { createServer } from 'node:http';
const server = createServer((request, response) => {
  if (request.url === '/healthz') return response.end('ok');
  const { host } = request.headers;
  let body = '';
  request.on('data', (piece) => (body += piece));
  request.on('end', () =>
    response.end(JSON.stringify({
      url: request.url, method: request.method, host, body,
      caller: request.headers['x-libra-caller'], instance: request.headers['x-libra-caller-instance'], identity: request.headers['x-libra-identity'],
      self: process.env.LIBRA_INSTANCE,
    })));
}).listen(process.env.PORT, process.env.HOST);
process.on('SIGTERM', () => server.close(() => process.exit(0)));
`;

const SHOP = `
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
const server = createServer(async (request, response) => {
  const url = new URL(request.url, 'http://shop');
  if (url.pathname !== '/call') return response.end('ok');
  const identity = await readFile(process.env.LIBRA_IDENTITY_FILE, 'utf8');
  const answer = await fetch(process.env.LIBRA_SERVICE_BILLING_INVOICES + url.searchParams.get('path'), {
    method: request.method, body: request.method === 'POST' ? 'paid' : undefined, headers: { 'x-libra-identity': identity, 'x-libra-caller': 'root' },
  });
  response.writeHead(answer.status).end(await answer.text());
}).listen(process.env.PORT, process.env.HOST);
process.on('SIGTERM', () => server.close(() => process.exit(0)));
`;

interface Seen {
  readonly url: string;
  readonly method: string;
  readonly host: string;
  readonly body: string;
  readonly caller: string;
  readonly instance: string;
  readonly identity?: string;
  readonly self: string;
}

describe('Apps call each other through the API Proxy', () => {
  const platform = new Platform();
  before(() => platform.start());
  after(() => platform.dispose());

  const deploy = async (app: string, code: string, yaml: string, instances = 1): Promise<void> => {
    const web = `entrypoints: { web: { command: node server.mjs, health: { http: /healthz }, instances: ${instances}, resources: { cpu: 0.1, memory: 96Mi } } }`;
    const folder = writeApp(platform, app, { 'libra.yaml': `app: ${app}\n${web}\n${yaml}\n`, 'server.mjs': code });
    const result = await platform.cli('deploy', folder);
    assert.equal(result.code, 0, result.stderr + result.stdout);
  };
  const billing = (allow: string): Promise<void> =>
    deploy('billing', BILLING, `provides: { invoices: { entrypoint: web, path: /api, allow: ${allow} } }`, 2);
  const call = (path: string): ReturnType<Platform['get']> => platform.get('shop.localhost', `/call?path=${encodeURIComponent(path)}`);

  test('what both declare goes through, and says who calls', async () => {
    await billing('[shop]');
    await deploy('shop', SHOP, 'uses: [billing.invoices]');
    const selves = new Set<string>();
    for (let count = 0; count < 20; count += 1) {
      const { status, body } = await call('/2024?month=1');
      assert.equal(status, 200, body);
      const seen = JSON.parse(body) as Seen; /* of the App above */
      assert.deepEqual([seen.url, seen.host, seen.caller], ['/api/2024?month=1', 'invoices.billing.libra', 'shop/production/web']);
      assert.equal(seen.identity, undefined);
      const { items } = await platform.client().instances.list({ params: { app: 'shop', environment: 'production' }, query: {} });
      assert.ok(items.some(({ id }) => id === seen.instance));
      selves.add(seen.self);
    }
    assert.equal(selves.size, 2, 'both Instances get calls');
    assert.match(
      (await platform.get('libra.localhost', '/metrics', { headers: { authorization: `Bearer ${platform.token()}` } })).body,
      /libra_apiproxy_requests_total\{caller="shop",caller_environment="production",service="billing\.invoices",environment="production",version="1",code="200"\} 20/u,
    );
  });

  test('what the provider takes back or narrows is over within a second, and what it gives counts as soon', async () => {
    const becomes = async (status: number): Promise<number> => {
      const sinceMs = performance.now();
      await until(`calls are answered with ${status}`, SECONDS_MS, async () => (await call('/x')).status === status);
      return performance.now() - sinceMs;
    };
    await billing('[]');
    const goneMs = await becomes(403);
    assert.match((await call('/x')).body, /billing\.invoices of billing\/production does not allow shop\/production/u);
    await billing('[{ app: shop, methods: [POST] }]');
    assert.match((await call('/x')).body, /to GET \/x: it has shop POST/u);
    await billing('[shop/production]');
    const backMs = await becomes(200);
    assert.ok(goneMs < 1000 && backMs < 1000, `${goneMs} ms and ${backMs} ms`);
  });

  test('while control is gone calls go on, and rules with them', async (t) => {
    await platform.kill();
    let [calls, failed] = [0, 0];
    const untilMs = performance.now() + 3000;
    while (performance.now() < untilMs) {
      calls += 1;
      if ((await call('/x')).status !== 200) failed += 1;
    }
    await platform.start();
    for (let count = 0; count < 50; count += 1) if ((await call('/x')).status !== 200) failed += 1;
    assert.equal(failed, 0);
    t.diagnostic(`${calls} calls without control`);
  });

  test('an App that says nothing of a Service is told what to write', async () => {
    await deploy('shop', SHOP.replaceAll('LIBRA_SERVICE_BILLING_INVOICES', 'LIBRA_APIPROXY'), 'uses: [billing.refunds]');
    const { status, body } = await call('/billing.invoices/x');
    assert.equal(status, 403);
    assert.match(body, /shop\/production does not use billing\.invoices\..*Add billing\.invoices to `uses` in its libra\.yaml/u);
  });
});
