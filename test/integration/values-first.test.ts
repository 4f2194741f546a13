// Values and Secrets may come before the first deploy, in the App's folder without a word more.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { withPlatform } from '../platform.ts';

test('a Secret that the first Deployment needs can be set before it', () =>
  withPlatform(async (platform) => {
    const folder = writeApp(platform, 'shop', serverApp({ text: 'one', more: 'env: { API_KEY: { secret: api-key } }' }));
    const refused = await platform.cli('deploy', folder);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /api-key/u);
    assert.match(refused.stderr, /libra secrets set api-key/u);

    const mistyped = await platform.cliWith({ input: 'value' }, 'secrets', 'set', 'api-key', '-a', 'shpo');
    assert.equal(mistyped.code, 3, mistyped.stderr);
    assert.match(mistyped.stderr, /libra apps create shpo/u);

    const set = await platform.cliWith({ cwd: folder, input: 'the value' }, 'secrets', 'set', 'api-key');
    assert.equal(set.code, 0, set.stderr);
    assert.match(set.stderr, /Made the App shop/u);
    assert.equal((await platform.cliIn(folder, 'env', 'set', 'COLOR=red', '-e', 'staging')).code, 0);
    const deployed = await platform.cliIn(folder, 'deploy');
    assert.equal(deployed.code, 0, deployed.stderr);
    const variables = JSON.parse((await platform.get('shop.localhost', '/env')).body) as Record<string, string>;
    assert.equal(variables['API_KEY'], 'the value');
    assert.equal((await platform.cli('apps', 'create', 'shop')).code, 5, 'it exists');
  }));
