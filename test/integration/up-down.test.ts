// Starting and stopping the platform as people do it: in the foreground and in the background, with and without its Instances, and after
// a kill. Each test looks at the processes themselves, not only at what the command line says.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { Platform, until } from '../platform.ts';

interface InstanceLine {
  readonly id: string;
  readonly pid: number | null;
  readonly healthy: boolean;
}

describe('the platform', () => {
  let platform: Platform;
  beforeEach(() => {
    platform = new Platform();
  });
  afterEach(async () => {
    await platform.cli('down');
    await platform.dispose();
  });

  const json = async <T>(...words: readonly string[]): Promise<T> => {
    const result = await platform.cli(...words, '--json');
    assert.equal(result.code, 0, result.stderr);
    return JSON.parse(result.stdout) as T; // printed by our own command
  };
  const up = (): Promise<{ readonly api: string; readonly apps: string; readonly pid: number }> => json('up', '--detach');
  const deploy = async (): Promise<void> => {
    const result = await platform.cli('deploy', writeApp(platform, 'shop', serverApp({ text: 'here' })));
    assert.equal(result.code, 0, result.stderr);
  };
  const healthy = async (): Promise<InstanceLine> =>
    await until('the Instance is healthy', 20_000, async () => {
      const { code, stdout } = await platform.cli('ps', '-a', 'shop', '--json');
      if (code !== 0) return null;
      const [instance, ...more] = JSON.parse(stdout) as InstanceLine[]; // printed by our own command
      return more.length === 0 && instance?.healthy === true ? instance : null;
    });
  const commands = (): string =>
    platform
      .processes()
      .map(({ command }) => command)
      .join('\n');

  test('runs in the background until it is told to stop, and then nothing of it is left', async () => {
    const first = await up();
    assert.equal((await json<{ version: string }>('status')).version.length > 0, true);
    const again = await platform.cli('up', '--detach');
    assert.equal(again.code, 0);
    assert.match(again.stdout, new RegExp(`is running already \\(process ${first.pid}\\)`, 'u'));
    await deploy();
    const down = await platform.cli('down');
    assert.equal(down.code, 0, down.stderr);
    assert.match(down.stdout, /^Stopped \(/u);
    await until('every process has ended', 5_000, () => platform.processes().length === 0);
    const twice = await platform.cli('down');
    assert.deepEqual([twice.code, twice.stdout], [0, 'Libra is not running.\n']);
    assert.equal((await platform.cli('status')).code, 6);
  });

  test('brings its Apps back at the next start', async () => {
    await up();
    await deploy();
    const before = await healthy();
    assert.equal((await platform.cli('down')).code, 0);
    await up();
    const after = await healthy();
    assert.notEqual(after.pid, before.pid);
  });

  test('leaves Instances running where it is told so, and adopts them at the next start', async () => {
    await up();
    await deploy();
    const before = await healthy();
    assert.equal((await platform.cli('down', '--keep-instances')).code, 0);
    assert.doesNotMatch(commands(), /main\.ts librad|main\.ts data-plane/u);
    assert.ok(
      platform.processes().some(({ pid }) => pid === before.pid),
      'the Instance runs on',
    );
    await up();
    const after = await healthy();
    assert.deepEqual([after.id, after.pid], [before.id, before.pid]);
  });

  test('is restarted by the keeper after a kill, and its Instances never notice', async () => {
    const { pid } = await up();
    await deploy();
    const before = await healthy();
    process.kill(pid, 'SIGKILL');
    const next = await until('another librad serves', 20_000, async () => {
      const { code, stdout } = await platform.cli('version', '--json');
      return code === 0 && (JSON.parse(stdout) as { platform: string | null }).platform !== null; // printed by our own command
    });
    assert.equal(next, true);
    const after = await healthy();
    assert.deepEqual([after.id, after.pid], [before.id, before.pid]);
  });

  test('stops at Ctrl-C in the foreground, cleanly, and brings its Apps back', async () => {
    await platform.start();
    await deploy();
    await healthy();
    assert.equal(await platform.stop(), 0);
    assert.deepEqual(platform.processes(), []);
    await platform.start();
    await healthy();
    await until('it answers at the same address', 5_000, async () => (await platform.get('shop.localhost')).body === 'here');
  });

  test('stops what is left after a kill in the foreground', async () => {
    await platform.start();
    await deploy();
    const { pid } = await healthy();
    await platform.kill();
    assert.ok(
      platform.processes().some((process) => process.pid === pid),
      'the Instance runs on',
    );
    const down = await platform.cli('down');
    assert.equal(down.code, 0, down.stderr);
    assert.match(down.stdout, /^Stopped \(/u);
    await until('every process has ended', 5_000, () => platform.processes().length === 0);
  });

  test('says who holds the data folder when it is started twice in the foreground', async () => {
    const { pid } = await platform.start();
    const second = await platform.startFailing();
    assert.equal(second.code, 5, second.stderr);
    assert.match(second.stderr, new RegExp(String(pid), 'u'));
    assert.equal(second.stdout, '');
  });
});
