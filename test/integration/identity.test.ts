// Who an Instance is to the platform, end to end: it reads its token from a file, control knows it by that, and it is nobody from the moment
// on in which it shall not run any more.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { Platform, until } from '../platform.ts';

/** Long enough for a loaded machine; what is shown is that it takes no fifteen minutes. */
const SECONDS_MS = 10_000;

interface Told {
  readonly token: string;
  readonly file: string;
  readonly instance: string;
}

interface Answer {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
}

const SHOWS_TOKEN = `import { readFileSync } from 'node:fs';`;
const TOKEN_ROUTE = `if (url.pathname === '/token') return response.end(JSON.stringify({
    token: readFileSync(process.env.LIBRA_IDENTITY_FILE, 'utf8'), file: process.env.LIBRA_IDENTITY_FILE, instance: process.env.LIBRA_INSTANCE }));
  if (url.pathname === '/call') {
    const headers = { 'x-libra-identity': readFileSync(process.env.LIBRA_IDENTITY_FILE, 'utf8') };
    const called = fetch(process.env.LIBRA_APIPROXY + '/' + url.searchParams.get('path'), { headers });
    return called.then(async (reply) => response.end(reply.status + ' ' + (await reply.text())), (error) => response.end(String(error)));
  }
  if (url.pathname === '/healthz')`;

describe('the identity of an Instance', () => {
  const platform = new Platform();
  before(() => platform.start());
  after(() => platform.dispose());

  const deploy = async (instances: number, more = ''): Promise<void> => {
    const files = serverApp({ text: 'shop', instances, before: SHOWS_TOKEN, more });
    const server = files['server.mjs']?.replace("if (url.pathname === '/healthz')", TOKEN_ROUTE) ?? '';
    const result = await platform.cli('deploy', writeApp(platform, 'shop', { ...files, 'server.mjs': server }));
    assert.equal(result.code, 0, result.stderr + result.stdout);
  };
  const ask = async (): Promise<Told> => JSON.parse((await platform.get('shop.localhost', '/token')).body) as Told; /* of the App above */
  /** Of each Instance one. */
  const askAll = async (count: number): Promise<readonly Told[]> => {
    const told = new Map<string, Told>();
    return until(`${count} Instances have told their tokens`, SECONDS_MS, async () => {
      const one = await ask();
      told.set(one.instance, one);
      return told.size === count ? [...told.values()] : null;
    });
  };
  const callWith = async (token: string, path = '/v1/apps'): Promise<Answer> => {
    const reply = await fetch(`${platform.addresses.api}${path}`, { headers: { authorization: `Bearer ${token}` } });
    return { status: reply.status, ...((await reply.json()) as Omit<Answer, 'status'>) }; // a problem, but for what it may read
  };
  const refused = (token: string, detail: RegExp): Promise<Answer> =>
    until(`the token is refused with ${detail.source}`, SECONDS_MS, async () => {
      const answer = await callWith(token);
      return answer.status === 401 && detail.test(answer.detail) ? answer : null;
    });

  test('control knows it, and lets it do nothing of what people may do', async () => {
    await deploy(1);
    const { token, instance } = await ask();
    const answer = await callWith(token);
    assert.deepEqual([answer.status, answer.code], [403, 'forbidden']);
    assert.match(answer.detail, new RegExp(`^instance/shop/production/web/${instance} has not the permission apps\\.read`, 'u'));
    for (const path of ['/v1/agent/sync', '/v1/dataplane/sync?edge=e1', '/v1/apps/shop/environments/production/env', '/v1/nodes'])
      assert.equal((await callWith(token, path)).status, 403, path);
  });

  test('a changed token, and none, are refused with the reason', async () => {
    const { token } = await ask();
    const [header, payload, tail] = token.split('.');
    const claims: unknown = JSON.parse(Buffer.from(payload ?? '', 'base64url').toString('utf8'));
    assert.ok(typeof claims === 'object');
    const other = Buffer.from(JSON.stringify({ ...claims, app: 'bank' })).toString('base64url');
    const changed = await callWith(`${header}.${other}.${tail}`);
    assert.deepEqual([changed.status, changed.code], [401, 'unauthenticated']);
    assert.match(changed.detail, /its signature does not fit/u);
    const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url');
    assert.match((await callWith(`${none}.${payload}.`)).detail, /not accepted/u);
  });

  test('it is the same after kill -9 of librad, whose next agent signs it anew', async () => {
    const earlier = await ask();
    await platform.kill();
    await platform.start();
    assert.equal((await callWith(earlier.token)).status, 403, 'what was signed with the key of before counts on');
    const later = await until('it was signed anew', SECONDS_MS, async () => {
      const now = await ask();
      return now.token === earlier.token ? null : now;
    });
    assert.deepEqual([later.instance, later.file], [earlier.instance, earlier.file]);
    assert.equal((await callWith(later.token)).status, 403);
  });

  test('what it uses it reaches by it, also while control is away; what it does not use it does not', async () => {
    const provides = 'provides: { invoices: { entrypoint: web, allow: [shop] }, books: { entrypoint: web, allow: [shop] } }';
    const billing = serverApp({ app: 'billing', text: 'from billing', more: provides });
    const provided = await platform.cli('deploy', writeApp(platform, 'billing', billing));
    assert.equal(provided.code, 0, provided.stderr);
    await deploy(1, 'uses: [billing.invoices, librad.kv]');
    const names = Object.keys(JSON.parse((await platform.get('shop.localhost', '/env')).body) as object)
      .filter((name) => /^LIBRA_(?:APIPROXY|SERVICE)/u.test(name))
      .sort();
    assert.deepEqual(names, ['LIBRA_APIPROXY', 'LIBRA_SERVICE_BILLING_INVOICES', 'LIBRA_SERVICE_LIBRAD_KV']);
    const call = (path: string): ReturnType<Platform['get']> => platform.get('shop.localhost', `/call?path=${encodeURIComponent(path)}`);
    await until('its Service answers', SECONDS_MS, async () => (await call('billing.invoices')).body === '200 from billing');
    assert.match((await call('billing.books')).body, /^403 .*shop\/production does not use billing\.books/u);
    // The platform's own Services ask for the same token themselves, whichever way it came.
    await until('librad.kv answers', SECONDS_MS, async () => (await call('librad.kv/keys')).body.startsWith('200 '));
    const { token } = await ask();
    assert.equal((await callWith(token, '/v1/librad/kv/keys')).status, 200);
    const unused = await callWith(token, '/v1/librad/locks/names');
    assert.deepEqual([unused.status, /has not the permission librad\.locks/u.test(unused.detail)], [403, true]);
    const owner = await callWith(platform.token(), '/v1/librad/kv/keys');
    assert.deepEqual([owner.status, owner.code], [403, 'forbidden'], 'who has no Environment has nothing there');
    await platform.kill();
    assert.equal((await call('billing.invoices')).body, '200 from billing');
    await platform.start();
  });

  test('the one that is scaled away is nobody, the one that stays is who it was', async () => {
    assert.equal((await platform.cli('scale', '-a', 'shop', 'web=2')).code, 0);
    const both = await askAll(2);
    assert.equal((await platform.cli('scale', '-a', 'shop', 'web=1')).code, 0);
    const gone = await until('one of them is refused', SECONDS_MS, async () => {
      const answers = await Promise.all(both.map(({ token }) => callWith(token)));
      const index = answers.findIndex(({ status }) => status === 401);
      return both[index] ?? null;
    });
    await refused(gone.token, /has ended|is gone/u);
    const stays = both.find((each) => each !== gone);
    assert.ok(stays !== undefined);
    assert.equal((await callWith(stays.token)).status, 403);
    const { addresses } = await platform.client().system.status({});
    const through = (bearer: string): Promise<number> =>
      fetch(`${addresses['apiProxy']}/billing.invoices`, { headers: { 'x-libra-identity': bearer } }).then(({ status }) => status);
    await until('the API Proxy refuses it as well', SECONDS_MS, async () => (await through(gone.token)) === 401);
    assert.equal(await through(stays.token), 200);
    await until('its file is gone', SECONDS_MS, () => !existsSync(gone.file));
    assert.ok(existsSync(stays.file));
  });

  test('what was stopped is nobody, and so is what was deleted', async () => {
    const stopped = await ask();
    assert.equal((await platform.cli('stop', '-a', 'shop')).code, 0);
    await refused(stopped.token, /has ended/u);
    assert.equal((await platform.cli('start', '-a', 'shop')).code, 0);
    const deleted = await until('it answers again', SECONDS_MS, () => ask().catch(() => null));
    assert.equal((await callWith(deleted.token)).status, 403);
    assert.equal((await platform.cli('apps', 'delete', 'shop', '--yes')).code, 0);
    await refused(deleted.token, /has ended|is gone/u);
    await until('all files are gone', SECONDS_MS, () => [stopped, deleted].every(({ file }) => !existsSync(dirname(file))));
  });
});
