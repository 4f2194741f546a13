// The main job of Libra, end to end with the real processes: from a folder to a healthy, reachable App, and everything one then does
// with it from the command line.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { Platform, root, until } from '../platform.ts';

const noTerminal =
  process.geteuid?.() === 0 && ['/usr/sbin/runuser', '/usr/bin/script'].every((path) => existsSync(path))
    ? false
    : 'needs root, runuser and script (Debian: util-linux, bsdutils)';

describe('an App from its folder', () => {
  const platform = new Platform();
  before(() => platform.start());
  after(() => platform.dispose());

  const deploy = async (
    text: string,
    more: Partial<Parameters<typeof serverApp>[0]> = {},
  ): Promise<Awaited<ReturnType<Platform['cli']>>> => {
    const folder = writeApp(platform, 'shop', serverApp({ text, ...more }));
    const result = await platform.cli('deploy', folder);
    assert.equal(result.code, 0, result.stderr + result.stdout);
    return result;
  };

  test('is deployed, answers through the Edge, and its URL is the last line', async () => {
    const result = await deploy('one');
    assert.equal(result.stdout.trim().split('\n').at(-1), `http://shop.localhost:${platform.edgePort}`);
    assert.deepEqual(await platform.get('shop.localhost').then((reply) => [reply.status, reply.body]), [200, 'one']);
  });

  test('is redeployed as a new Release', async () => {
    await deploy('two');
    assert.equal((await platform.get('shop.localhost')).body, 'two');
    const releases = JSON.parse((await platform.cli('releases', '-a', 'shop', '--json')).stdout) as { number: number; state: string }[];
    assert.deepEqual(
      releases.map((release) => [release.number, release.state]),
      [
        [2, 'ready'],
        [1, 'ready'],
      ],
    );
  });

  test('is rolled back by a new Deployment', async () => {
    const result = await platform.cli('rollback', '-a', 'shop', '--json');
    assert.equal(result.code, 0, result.stderr);
    const said = JSON.parse(result.stdout) as { release: number; deployment: number; status: string };
    assert.deepEqual([said.release, said.deployment, said.status], [1, 3, 'succeeded']);
    assert.equal((await platform.get('shop.localhost')).body, 'one');
  });

  test('is scaled up and down without a new Deployment, and a deploy keeps the override', async () => {
    assert.equal((await platform.cli('scale', 'web=3', '-a', 'shop')).code, 0);
    const healthy = async (count: number): Promise<boolean> => {
      const { items } = await platform.client().instances.list({ params: { app: 'shop', environment: 'production' } });
      return (
        items.filter((item) => item.healthy && !item.draining).length === count &&
        items.filter((item) => item.role === 'service').length === count
      );
    };
    await until('three are healthy', 20_000, () => healthy(3));
    const kept = await deploy('three');
    assert.match(kept.stdout, /set by libra scale/u);
    assert.equal(await healthy(3), true);
    assert.equal((await platform.cli('scale', 'web=manifest', '-a', 'shop')).code, 0);
    await until('one is left', 20_000, () => healthy(1));
  });

  test('gets values and secrets, and never shows them', async () => {
    assert.equal((await platform.cliWith({ input: 's3cret-value\n' }, 'secrets', 'set', 'api-key', '-a', 'shop')).code, 0);
    assert.equal((await platform.cli('env', 'set', 'COLOR=crimson-value', '-a', 'shop')).code, 0);
    const result = await deploy('four', { more: 'env: { API_KEY: { secret: api-key } }' });
    const environment = JSON.parse((await platform.get('shop.localhost', '/env')).body) as Record<string, string>;
    assert.equal(environment['API_KEY'], 's3cret-value');
    assert.equal(environment['COLOR'], 'crimson-value');
    assert.equal(environment['LIBRA_APP'], 'shop');
    assert.equal(environment['LIBRA_DATA'], undefined, 'nothing of librad is inherited');
    for (const words of [
      ['env', '-a', 'shop'],
      ['secrets', '-a', 'shop'],
      ['deployments', '-a', 'shop', '--json'],
      ['ps', '-a', 'shop', '--json'],
    ]) {
      const shown = await platform.cli(...words);
      assert.doesNotMatch(shown.stdout + shown.stderr + result.stdout, /s3cret-value|crimson-value/u, words.join(' '));
    }
  });

  test('shows its output, runs commands inside and beside, and hands on their exit codes', async () => {
    const logs = await platform.cli('logs', '-a', 'shop', '--tail', '50');
    assert.match(logs.stdout, /web\.0 listening/u);
    const chosen = async (...words: readonly string[]): Promise<string> =>
      (await platform.cli('logs', '-a', 'shop', '--timestamps', '--raw', ...words)).stdout;
    const found = await chosen('--since', '10m', '--grep', '(?i)^LISTEN');
    assert.match(found, /^(?:\d{4}-\d\d-\d\dT[\d:.]+Z listening[^\n]*\n)+$/u);
    const [first = ''] = found.split(' ');
    assert.ok((await chosen('--since', first, '--until', first)).startsWith(first));
    assert.equal(await chosen('--until', '1h'), '');
    assert.equal(await chosen('--grep', 'never said'), '');
    const refused = await platform.cli('logs', '-a', 'shop', '--grep', '(');
    assert.deepEqual([refused.code, refused.stdout], [2, ''], refused.stderr);
    assert.match(refused.stderr, /The pattern "\("/u);
    const exec = await platform.cliWith(
      { input: 'from outside' },
      'exec',
      '-a',
      'shop',
      '--',
      'node',
      '-e',
      'process.stdin.pipe(process.stdout); process.stdin.on("end", () => process.exit(7))',
    );
    assert.deepEqual([exec.code, exec.stdout], [7, 'from outside'], exec.stderr);
    const run = await platform.cli(
      'run',
      '-a',
      'shop',
      '--',
      'node',
      '-e',
      'console.log("one-off of " + process.env.LIBRA_APP); process.exit(3)',
    );
    assert.deepEqual([run.code, run.stdout.trim()], [3, 'one-off of shop'], run.stderr);
  });

  test('gives a command beside it the terminal that asked for it', { skip: noTerminal }, () => {
    const env = { ...platform.env, PATH: `${join(root, 'bin')}:${platform.env['PATH']}` };
    const line = `libra exec -a shop --tty -- node -p '[process.stdin.isTTY, process.stdout.columns > 0, process.env.LIBRA_APP].join()'`;
    const said = execFileSync('script', ['-qec', line, '/dev/null'], { encoding: 'utf8', env, timeout: 30_000 });
    assert.match(said, /true,true,shop\r*$/mu);
  });

  test('runs a command several times at once, and stops all of them', async () => {
    const program = 'const n = Number(process.env.LIBRA_SLOT); console.log("slot " + n); process.exit(n < 2 ? 0 : n)';
    const words = ['-a', 'shop', '--count', '4', '--', 'node', '-e', program];
    const many = await platform.cli('run', ...words);
    assert.equal(many.code, 2, many.stderr);
    assert.deepEqual(many.stdout.trim().split('\n').toSorted(), ['web.0 slot 0', 'web.1 slot 1', 'web.2 slot 2', 'web.3 slot 3']);
    assert.match(many.stderr, /2 of 4 succeeded/u);
    const lines = (await platform.cli('run', '--json', ...words)).stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const ends = lines.filter((line) => 'phase' in line).toSorted((a, b) => Number(a['slot']) - Number(b['slot']));
    assert.deepEqual(
      ends.map(({ slot, phase }) => [slot, phase]),
      [
        [0, 'succeeded'],
        [1, 'succeeded'],
        [2, 'failed'],
        [3, 'failed'],
      ],
    );
    const none = await platform.cli('run', '-a', 'shop', '--count', '41', '--', 'true');
    assert.equal(none.code, 2, none.stderr);

    const child = spawn(
      join(root, 'bin/libra'),
      ['run', '-a', 'shop', '-n', '3', '--', 'node', '-e', 'console.log("up"); setInterval(() => {}, 1000)'],
      {
        env: platform.env,
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    );
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    await until('all three run', 20_000, () => output.split('\n').length === 4);
    child.kill('SIGINT');
    assert.deepEqual(await once(child, 'close'), [130, null]);
    await until('all three are stopped', 20_000, async () => {
      const { items } = await platform.client().instances.list({ params: { app: 'shop', environment: 'production' } });
      return items.every(({ role }) => role !== 'run');
    });
  });

  test('is restarted, stopped and started', async () => {
    const ids = async (): Promise<readonly string[]> =>
      (await platform.client().instances.list({ params: { app: 'shop', environment: 'production' } })).items
        .filter((item) => item.role === 'service')
        .map((item) => item.id);
    const before = await ids();
    assert.equal((await platform.cli('restart', '-a', 'shop')).code, 0);
    assert.notDeepEqual(await ids(), before);
    assert.equal((await platform.cli('stop', '-a', 'shop')).code, 0);
    await until('the page says that it is stopped', 20_000, async () => {
      const reply = await platform.get('shop.localhost');
      return reply.status === 503 && /stopped/iu.test(reply.body);
    });
    assert.equal((await platform.cli('start', '-a', 'shop')).code, 0);
    await until('it answers again', 20_000, async () => (await platform.get('shop.localhost')).body === 'four');
  });

  test('has a plan without differences when nothing has changed', async () => {
    const folder = writeApp(platform, 'shop', serverApp({ text: 'four', more: 'env: { API_KEY: { secret: api-key } }' }));
    const plan = JSON.parse((await platform.cli('plan', folder, '--json')).stdout) as { changes: unknown[]; refusals: unknown[] };
    assert.deepEqual(plan.changes, []);
    assert.deepEqual(plan.refusals, []);
  });

  test('runs in a second Environment at a host of its own', async () => {
    const folder = writeApp(platform, 'shop', serverApp({ text: 'staged' }));
    const result = await platform.cli('deploy', folder, '-e', 'staging');
    assert.equal(result.code, 0, result.stderr);
    assert.equal((await platform.get('shop--staging.localhost')).body, 'staged');
    assert.equal((await platform.get('shop.localhost')).body, 'four');
  });

  test('is deleted with all that belongs to it', async () => {
    assert.equal((await platform.cli('apps', 'delete', 'shop', '--yes')).code, 0);
    await until('it is gone', 20_000, async () => (await platform.cli('apps', '--json')).stdout.trim() === '[]');
    assert.equal((await platform.get('shop.localhost')).status, 404);
  });
});
