// What npm publishes: one folder without dependencies, whose program does everything that the sources do, as any user, from anywhere.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Platform, root, until } from '../platform.ts';
import { lacking } from '../requirements.ts';

let folder = '';
let program = '';

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'libra-package-'));
  chmodSync(folder, 0o755);
  execFileSync(process.execPath, [join(root, 'scripts/build.ts'), join(folder, 'package')], { stdio: ['ignore', 'ignore', 'inherit'] });
  program = join(folder, 'package/bin/libra');
});

after(() => rmSync(folder, { recursive: true, force: true }));

test('the package has no dependencies, and its code imports nothing but Node', () => {
  const manifest = JSON.parse(readFileSync(join(folder, 'package/package.json'), 'utf8'));
  for (const field of ['dependencies', 'devDependencies', 'optionalDependencies', 'scripts'])
    assert.equal(manifest[field], undefined, field);
  assert.equal(manifest.bin.libra, 'bin/libra');
  assert.equal(manifest.engines.node, '>=24');
  let imports = 0;
  for (const file of globSync('program/**/*.js', { cwd: join(folder, 'package') })) {
    const text = readFileSync(join(folder, 'package', file), 'utf8');
    for (const [, name = ''] of text.matchAll(/\b(?:from|import\(?)["'`]([@\w.][@\w./:-]*)["'`]/gu)) {
      imports += 1;
      assert.ok(name.startsWith('./') || name.startsWith('../') || isBuiltin(name), `${file} imports ${name}`);
    }
  }
  assert.ok(imports > 100, `${imports} imports were seen`);
});

test('an old Node is told what is needed instead of a syntax error', () => {
  const file = join(folder, 'package/program/libra.js');
  const asOld = `Object.defineProperty(process.versions, 'node', { value: '20.20.2' }); await import(${JSON.stringify(file)});`;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', asOld], { encoding: 'utf8' });
  assert.deepEqual([status, stderr], [1, 'libra: this Node is 20.20.2 and Libra needs 24 or newer.\n']);
});

test('it deploys Node and static Apps, outlives kills, and goes to the background and back', { timeout: 120_000 }, async () => {
  const platform = new Platform({ program });
  try {
    await platform.start();
    for (const example of ['hello', 'static']) {
      const deployed = await platform.cli('deploy', join(root, 'examples', example), '--yes');
      assert.equal(deployed.code, 0, deployed.stderr);
    }
    assert.match((await platform.get('hello.localhost')).body, /^Hello from Libra! Release 1, slot 0\.\n$/u);
    assert.equal((await platform.get('site.localhost')).status, 200);
    for (const { command } of platform.processes())
      if (/ (?:keeper|data-plane|up) ?/u.test(command)) assert.ok(command.includes('/package/program/libra.js '), command);
    const pid = platform.processes().find(({ command }) => command.includes(' data-plane '))?.pid;
    process.kill(pid ?? 0, 'SIGKILL');
    await platform.kill();
    await until('the Edge serves again', 10_000, async () => (await platform.get('hello.localhost')).status === 200);
    assert.equal((await platform.startDetached()).pid > 0, true);
    await until('hello is healthy again', 10_000, async () => /healthy/u.test((await platform.cli('apps')).stdout));
    assert.equal((await platform.get('hello.localhost')).status, 200);
    const down = await platform.cli('down');
    assert.equal(down.code, 0, down.stderr);
  } finally {
    await platform.dispose();
  }
});

test('a user who may not write into the package starts it too', { skip: lacking('root', 'setpriv', 'readable'), timeout: 60_000 }, () => {
  const home = join(folder, 'home');
  mkdirSync(home);
  chownSync(home, 65_534, 65_534);
  const env = {
    PATH: process.env['PATH'],
    HOME: home,
    LIBRA_API_PORT: '0',
    LIBRA_EDGE_PORT: '0',
    LIBRA_EDGE_TLS_PORT: '0',
    LIBRA_APIPROXY_PORT: '0',
  };
  const run = (...words: readonly string[]) =>
    spawnSync('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', program, ...words], { env, cwd: '/', encoding: 'utf8' });
  const up = run('up', '--detach', '--example');
  try {
    assert.equal(up.status, 0, up.stderr);
    assert.match(up.stdout, /hello http:\/\/hello\.localhost:\d+/u);
    assert.ok(globSync('.cache/libra/**/*', { cwd: home }).length > 10, 'compiled code is kept in the user’s own folder');
  } finally {
    const down = run('down');
    assert.equal(down.status, 0, down.stderr);
  }
});
