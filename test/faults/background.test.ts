// The platform in the background: it comes up again whatever was killed, and whoever started it with whatever umask.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { Platform, until } from '../platform.ts';

const addressesOf = (platform: Platform): { readonly pid: number; readonly apps: string } =>
  JSON.parse(readFileSync(join(platform.data, 'run/addresses.json'), 'utf8')) as { pid: number; apps: string }; // written by librad

const pidOf = (platform: Platform, role: RegExp): number | undefined => platform.processes().find(({ command }) => role.test(command))?.pid;

test('a start in the background that fails says why, and nothing of it is left', async () => {
  const platform = new Platform({ env: { LIBRA_STORE: 'etcd://127.0.0.1:1' } });
  const { code, stderr } = await platform.cli('up', '--detach');
  assert.equal(code, 1, stderr);
  assert.match(stderr, /librad did not come up in the background\. .*127\.0\.0\.1:1/su);
  await until('the keeper has gone', 5_000, () => platform.processes().length === 0);
  await platform.dispose();
});

describe('in the background', () => {
  const platform = new Platform({ env: { LIBRA_LOG_FORWARD: 'http://127.0.0.1:1/in?key=hidden-word' } });
  before(async () => {
    // Folders are made by the command, by librad, by the keeper and for Apps: all under this umask, which children inherit.
    const mask = process.umask(0o077);
    const up = platform.cli('up', '--detach');
    process.umask(mask);
    const { code, stderr } = await up;
    assert.equal(code, 0, stderr);
  });
  after(async () => {
    await platform.cli('down');
    await platform.dispose();
  });

  test('Apps run although whoever started it has an umask of 077', async () => {
    const result = await platform.cli('deploy', writeApp(platform, 'shop', serverApp({ text: 'hello' })));
    assert.equal(result.code, 0, result.stdout + result.stderr);
    const shown = JSON.parse((await platform.cli('ps', '-a', 'shop', '--json')).stdout) as { notEnforced: string[] }[]; // our own reply
    if (process.getuid?.() === 0) {
      assert.deepEqual(
        shown.map((instance) => instance.notEnforced.filter((limit) => limit.startsWith('user'))),
        [[]],
      );
    }
    assert.equal(statSync(join(platform.data, 'node')).mode & 0o777, process.getuid?.() === 0 ? 0o711 : 0o700);
    for (const name of readdirSync(platform.data)) {
      if (name === 'node' || name === 'sources') continue;
      assert.equal(statSync(join(platform.data, name)).mode & 0o077, 0, `${name} is for nobody else`);
    }
  });

  test('what may hold a key is on no command line', () => {
    const commands = platform.processes().map(({ command }) => command);
    assert.ok(
      commands.some((command) => / librad /u.test(command)),
      commands.join('\n'),
    );
    assert.ok(
      commands.every((command) => !command.includes('hidden-word')),
      commands.join('\n'),
    );
  });

  test('it is started again after keeper and librad were killed, and again', async () => {
    for (let round = 1; round <= 3; round += 1) {
      const killed = addressesOf(platform).pid;
      const keeper = pidOf(platform, / keeper /u);
      assert.ok(keeper !== undefined);
      process.kill(keeper, 'SIGKILL');
      process.kill(killed, 'SIGKILL');
      const { code, stderr } = await platform.cli('up', '--detach');
      assert.equal(code, 0, `round ${round}: ${stderr}`);
      assert.notEqual(addressesOf(platform).pid, killed);
    }
    const apps = await until('the Apps are known', 10_000, async () => {
      const { code, stdout } = await platform.cli('apps', '--json');
      return code === 0 ? stdout : null;
    });
    assert.match(apps, /"shop"/u);
  });
});
