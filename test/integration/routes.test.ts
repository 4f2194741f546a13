// Routes of a manifest on a real platform: what they match, what they do, who owns them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { withPlatform } from '../platform.ts';

test('Routes with conditions and policies serve as the manifest says, and belong to one App', () =>
  withPlatform(async (platform) => {
    const hashed = await platform.cliWith({ input: 'open sesame\n' }, 'routes', 'hash');
    assert.equal(hashed.code, 0, hashed.stderr);
    const hash = hashed.stdout.trim();
    assert.match(hash, /^\$scrypt\$ln=15,r=8,p=1\$/u);
    const routes = [
      'routes:',
      '  - {}',
      '  - { path: /old, redirect: { status: 308, path: { prefix: /new } } }',
      "  - { path: { pattern: '/v(\\d+)/(.*)' }, rewrite: { path: '/echo-$1/$2' } }",
      `  - { path: /staff, auth: { users: { anna: "${hash}" } } }`,
      '  - { path: { exact: /only }, match: { methods: [DELETE] }, redirect: https://example.com }',
    ];
    const folder = writeApp(platform, 'shop', serverApp({ text: 'shop', web: routes }));
    const deployed = await platform.cli('deploy', folder);
    assert.equal(deployed.code, 0, deployed.stderr);
    const get = (path: string, headers: Readonly<Record<string, string>> = {}): ReturnType<typeof platform.get> =>
      platform.get('shop.localhost', path, { headers });
    const moved = await get('/old/x?y=1');
    assert.deepEqual([moved.status, moved.headers['location']?.replace(/:\d+/u, '')], [308, 'http://shop.localhost/new/x?y=1']);
    assert.equal((await get('/v7/a')).status, 200);
    assert.equal((await get('/staff')).status, 401);
    assert.equal((await get('/staff', { authorization: `Basic ${Buffer.from('anna:open sesame').toString('base64')}` })).status, 200);
    assert.equal((await get('/only')).status, 200);

    const listed = await platform.cli('routes', '-a', 'shop');
    assert.match(listed.stdout, /path ~ \/v\(\\d\+\)\/\(\.\*\)/u);
    assert.match(listed.stdout, /method DELETE/u);
    assert.match(listed.stdout, /password of 1 user/u);

    const explained = await platform.cli('routes', 'explain', "curl -X DELETE 'http://shop.localhost/only' -H 'x: y'");
    assert.equal(explained.code, 0, explained.stderr);
    assert.match(explained.stdout, /to\s+shop\/production web, 1 Instance/u);
    assert.match(explained.stdout, /by\s+shop\.localhost = \/only/u);
    assert.match(explained.stdout, /since\s+method DELETE/u);
    assert.match(explained.stdout, /shop\.localhost\/old .*path/u);
    const nowhere = await platform.cli('routes', 'explain', '--json', 'nowhere.example/');
    assert.equal(nowhere.code, 1);
    assert.equal((JSON.parse(nowhere.stdout) as { outcome: string }).outcome, 'no_host'); // what the API answers
    assert.match((await platform.cli('routes', '--all')).stdout, /shop\/production/u);

    const thief = writeApp(
      platform,
      'thief',
      serverApp({ app: 'thief', text: 'thief', web: ['routes: [ { host: shop.localhost, path: /old } ]'] }),
    );
    const refused = await platform.cli('deploy', thief);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /shop\.localhost\/old.*shop\/production/su);
    const beside = writeApp(
      platform,
      'beside',
      serverApp({ app: 'beside', text: 'beside', web: ['routes: [ { host: shop.localhost, path: /old, match: { methods: [PUT] } } ]'] }),
    );
    assert.equal((await platform.cli('deploy', beside)).code, 0);
  }));
