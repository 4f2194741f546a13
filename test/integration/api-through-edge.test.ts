// The platform's API is an address like any other at the Edge: libra.<domain>, with its own authorisation.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { withPlatform } from '../platform.ts';

const HOST = 'libra.localhost';

test('the API answers at libra.<domain>: calls, streams, uploads, and nobody without a token', () =>
  withPlatform(async (platform) => {
    // At once: whoever is told that the platform is up may ask.
    assert.equal((await platform.get(HOST, '/v1/system/health')).status, 200);
    assert.equal((await platform.get(HOST, '/v1/apps')).status, 401);
    const token = readFileSync(join(platform.data, 'owner.token'), 'utf8').trim();
    const headers = { authorization: `Bearer ${token}` };
    assert.equal((await platform.get(HOST, '/v1/apps', { headers })).status, 200);
    assert.equal((await platform.get(HOST, '/v1/apps', { headers: { ...headers, origin: 'https://evil.example' } })).status, 403);

    // The command line by that address: it uploads, and follows a Deployment.
    const url = `http://${HOST}:${platform.edgePort}`;
    const folder = writeApp(platform, 'shop', serverApp({ text: 'through the Edge' }));
    const deployed = await platform.cliWith({ env: { LIBRA_URL: url, LIBRA_TOKEN: token } }, 'deploy', folder);
    assert.equal(deployed.code, 0, deployed.stderr);
    assert.equal((await platform.get('shop.localhost')).body, 'through the Edge');

    // An event comes when it happens.
    const first = await new Promise<string>((resolve, reject) => {
      const call = request(
        { host: '127.0.0.1', port: platform.edgePort, path: '/v1/events/stream', headers: { ...headers, host: HOST } },
        (answer) => {
          assert.equal(answer.statusCode, 200);
          void platform.cli('scale', 'web=2', '-a', 'shop');
          answer.once('data', (chunk: Buffer) => {
            resolve(chunk.toString());
            call.destroy();
          });
        },
      );
      call.on('error', reject);
      call.end();
    });
    assert.notEqual(first, '');

    const thief = writeApp(platform, 'thief', serverApp({ app: 'thief', text: 'thief', web: [`routes: [ { host: ${HOST} } ]`] }));
    const refused = await platform.cli('deploy', thief);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /belongs to the platform itself/u);
    assert.match((await platform.cli('routes', '--all')).stdout, /libra\/production.*libra\.localhost/u);
  }));

test('it can be switched off', () =>
  withPlatform(
    async (platform) => {
      assert.equal((await platform.get(HOST, '/v1/system/health')).status, 404);
    },
    { env: { LIBRA_EDGE_API: 'off' } },
  ));
