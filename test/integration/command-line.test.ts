// What scripts rely on: exit codes, streams, JSON, pipes that break and interrupts, with the real program.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { Platform, root, until } from '../platform.ts';

describe('the command line', () => {
  const platform = new Platform();
  before(async () => {
    await platform.start();
    const result = await platform.cli('deploy', writeApp(platform, 'shop', serverApp({ text: 'here' })));
    assert.equal(result.code, 0, result.stderr);
  });
  after(() => platform.dispose());

  const elsewhere = { LIBRA_URL: 'http://127.0.0.1:1', LIBRA_TOKEN: 'x' };
  const cases: readonly (readonly [
    what: string,
    code: number,
    code2: string,
    words: readonly string[],
    env?: Readonly<Record<string, string>>,
  ])[] = [
    ['an unknown command', 2, 'invalid_input', ['frobnicate']],
    ['an unknown option', 2, 'invalid_input', ['ps', '--frobnicate']],
    ['an App that nobody named', 2, 'invalid_input', ['ps']],
    ['an App that does not exist', 3, 'not_found', ['ps', '-a', 'nowhere']],
    ['a folder that does not exist', 3, 'not_found', ['deploy', 'nowhere']],
    ['a wrong credential', 4, 'unauthenticated', ['apps'], { LIBRA_TOKEN: 'wrong' }],
    ['a platform that does not answer', 6, 'unreachable', ['apps'], elsewhere],
  ];
  for (const [what, code, failure, words, env] of cases) {
    test(`exits with ${code} for ${what}, and says so on stderr alone, as JSON where asked`, async () => {
      const plain = await platform.cliWith({ env: env ?? {} }, ...words);
      assert.deepEqual([plain.code, plain.stdout], [code, ''], plain.stderr);
      assert.match(plain.stderr, /^error: .+\nnext: .+\n$/u);
      const json = await platform.cliWith({ env: env ?? {} }, ...words, '--json');
      assert.deepEqual([json.code, json.stdout], [code, '']);
      const said = JSON.parse(json.stderr) as { readonly error: { readonly code: string } }; // printed by our own command
      assert.equal(said.error.code, failure);
    });
  }

  test('prints exactly one JSON value for every verb that only looks', async () => {
    for (const words of [
      ['apps'],
      ['ps', '-a', 'shop'],
      ['releases', '-a', 'shop'],
      ['deployments', '-a', 'shop'],
      ['deployments', '1', '-a', 'shop'],
      ['routes', '-a', 'shop'],
      ['scale', '-a', 'shop'],
      ['env', '-a', 'shop'],
      ['secrets', '-a', 'shop'],
      ['nodes'],
      ['status'],
      ['version'],
      ['doctor'],
      ['completion', 'bash'],
      ['plan', 'sources/shop'],
    ]) {
      const result = await platform.cli(...words, '--json');
      assert.ok(result.code === 0 || words[0] === 'doctor', `${words.join(' ')}: ${result.stderr}`);
      assert.doesNotThrow(() => JSON.parse(result.stdout), `${words.join(' ')}: ${result.stdout}`);
      assert.doesNotMatch(result.stdout + result.stderr, /\u001b/u, words.join(' '));
    }
  });

  test('understands options before and behind the command, and help in three ways', async () => {
    const forms = await Promise.all([
      platform.cli('-a', 'shop', 'ps'),
      platform.cli('ps', '--app=shop'),
      platform.cli('--json', 'ps', '-a', 'shop'),
    ]);
    assert.deepEqual(
      forms.map((form) => form.code),
      [0, 0, 0],
    );
    const help = await Promise.all([
      platform.cli('help', 'secrets', 'set'),
      platform.cli('secrets', 'set', '--help'),
      platform.cli('secrets', 'set', '-h'),
    ]);
    assert.equal(new Set(help.map((one) => one.stdout)).size, 1);
    assert.match(help[0]?.stdout ?? '', /--file <path>/u);
  });

  /** Runs a command with its standard output in our hands. */
  const start = (
    ...words: readonly string[]
  ): { readonly child: ReturnType<typeof spawn>; readonly ended: Promise<readonly [number | null, string]> } => {
    const child = spawn(join(root, 'bin/libra'), words, { cwd: platform.data, env: platform.env, stdio: ['ignore', 'pipe', 'pipe'] });
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString('utf8')));
    const ended = once(child, 'close').then(([code]) => [typeof code === 'number' ? code : null, stderr] as const);
    return { child, ended };
  };

  test('ends quietly, but not with success, when nobody reads its output any more', async () => {
    const { child, ended } = start('logs', '-a', 'shop', '--follow');
    await once(child.stdout ?? assert.fail('piped'), 'data');
    child.stdout?.destroy();
    assert.equal((await platform.cli('restart', '-a', 'shop')).code, 0);
    assert.deepEqual(await ended, [141, '']);
  });

  test('ends with 130 at Ctrl-C while it follows', async () => {
    const { child, ended } = start('logs', '-a', 'shop', '--follow');
    await once(child.stdout ?? assert.fail('piped'), 'data');
    child.kill('SIGINT');
    const [code] = await ended;
    assert.equal(code, 130);
  });

  test('leaves a Deployment running at Ctrl-C, and says how to follow it', async () => {
    const wait = 'await new Promise((resolve) => setTimeout(resolve, 3000));';
    const folder = writeApp(platform, 'slow', serverApp({ app: 'slow', text: 'slow', before: wait }));
    const { child, ended } = start('deploy', folder);
    child.stdout?.resume();
    await until('the Deployment runs', 10_000, async () => (await platform.cli('deployments', '1', '-a', 'slow')).code === 0);
    child.kill('SIGINT');
    const [code, stderr] = await ended;
    assert.equal(code, 130, stderr);
    assert.match(stderr, /Deployment 1 goes on without you\. Follow it again with: libra deployments 1 --follow --app slow\n/u);
    const followed = await platform.cli('deployments', '1', '--follow', '-a', 'slow');
    assert.equal(followed.code, 0, followed.stderr);
    assert.match(followed.stdout, /http:\/\/slow\.localhost/u);
  });
});
