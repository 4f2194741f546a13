// Every example of examples/ is deployed by its own libra.yaml and then used through the Edge as its users would, with their own clients.
// What a copy changes against the example (a host that every client resolves, this machine's registry, a faster clock) is written here.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { writeApp } from '../fixtures/app-folder.ts';
import { Platform, root, until } from '../platform.ts';
import { lacking } from '../requirements.ts';

const run = promisify(execFile);
const platform = new Platform();

/** A copy of an example, with these replacements in its files; each must have something to replace. */
function copyOf(name: string, changes: Readonly<Record<string, readonly [RegExp, string]>> = {}): string {
  const folder = join(platform.data, 'sources', name);
  rmSync(folder, { recursive: true, force: true });
  cpSync(join(root, 'examples', name), folder, { recursive: true });
  for (const [file, [pattern, replacement]] of Object.entries(changes)) {
    const text = readFileSync(join(folder, file), 'utf8');
    assert.match(text, pattern, `${name}/${file}`);
    writeFileSync(join(folder, file), text.replace(pattern, replacement));
  }
  return folder;
}

/** Names under .localhost are for browsers and curl; other clients do not resolve them. */
const REACHABLE: readonly [RegExp, string] = [/^ {2}web:\n/mu, '  web:\n    routes: [{ host: 127.0.0.1 }]\n'];

/** The registry and the authorities that this machine's npm trusts: an App inherits nothing, so its folder has to say so. */
async function writeNpmrc(folder: string): Promise<void> {
  const { stdout } = await run('npm', ['config', 'get', 'registry'], { cwd: folder, timeout: 20_000 });
  const authorities = process.env['NODE_EXTRA_CA_CERTS'];
  writeFileSync(join(folder, '.npmrc'), `registry=${stdout.trim()}\n${authorities === undefined ? '' : `cafile=${authorities}\n`}`);
}

async function deploy(folder: string): Promise<string> {
  const result = await platform.cli('deploy', folder);
  if (result.code !== 0) console.error(readFileSync(join(platform.data, 'logs/librad.log'), 'utf8').split('\n').slice(-40).join('\n'));
  assert.equal(result.code, 0, result.stdout + result.stderr);
  return result.stdout.trim().split('\n').at(-1) ?? '';
}

async function remove(app: string): Promise<void> {
  assert.equal((await platform.cli('apps', 'delete', app, '--yes')).code, 0);
  await until(`${app} is gone`, 30_000, async () => !(await platform.cli('apps', '--json')).stdout.includes(`"${app}"`));
}

describe('examples', () => {
  before(() => platform.start());
  after(() => platform.dispose());

  test('hello answers at its URL', async () => {
    assert.equal(await deploy(join(root, 'examples/hello')), `http://hello.localhost:${platform.edgePort}`);
    const reply = await platform.get('hello.localhost');
    assert.equal(reply.status, 200);
    assert.match(reply.body, /hello/iu);
    await remove('hello');
  });

  test('static serves its pages and nothing else', async () => {
    await deploy(join(root, 'examples/static'));
    const get = (path: string, headers: Readonly<Record<string, string>> = {}): ReturnType<Platform['get']> =>
      platform.get('site.localhost', path, { headers });
    const index = await get('/');
    assert.equal(index.status, 200);
    assert.equal(index.body, readFileSync(join(root, 'examples/static/public/index.html'), 'utf8'));
    assert.match(String(index.headers['content-type']), /text\/html/u);
    assert.equal((await get('/about.html')).body, readFileSync(join(root, 'examples/static/public/about.html'), 'utf8'));
    const missing = await get('/nowhere');
    assert.deepEqual([missing.status, missing.body], [404, readFileSync(join(root, 'examples/static/public/404.html'), 'utf8')]);
    const style = readFileSync(join(root, 'examples/static/public/style.css'), 'utf8');
    const part = await get('/style.css', { range: 'bytes=2-6' });
    assert.deepEqual([part.status, part.body, part.headers['content-range']], [206, style.slice(2, 7), `bytes 2-6/${style.length}`]);
    for (const path of [
      '/../libra.yaml',
      '/%2e%2e/libra.yaml',
      '/..%2flibra.yaml',
      '/%2e%2e%2flibra.yaml',
      '//libra.yaml',
      '/public/../../libra.yaml',
    ]) {
      const escaped = await get(path);
      assert.ok(escaped.status >= 400 && escaped.status < 500, `${path}: ${escaped.status}`);
      assert.doesNotMatch(escaped.body, /app: site/u, path);
    }
    await remove('site');
  });

  test("python's own server lists and serves its folder", { skip: lacking('python3') }, async () => {
    await deploy(join(root, 'examples/python'));
    assert.match((await platform.get('files.localhost')).body, /README\.txt/u);
    assert.equal(
      (await platform.get('files.localhost', '/README.txt')).body,
      readFileSync(join(root, 'examples/python/shared/README.txt'), 'utf8'),
    );
    await remove('files');
  });

  test('chat lets two browsers hear each other', { skip: lacking('npm') }, async () => {
    const folder = copyOf('chat', { 'libra.yaml': REACHABLE });
    await writeNpmrc(folder);
    await deploy(folder);
    assert.match((await platform.get('127.0.0.1')).body, /<title>Chat<\/title>/u);

    const open = async (): Promise<{ readonly socket: WebSocket; readonly heard: string[] }> => {
      const socket = new WebSocket(`ws://127.0.0.1:${platform.edgePort}/`);
      const heard: string[] = [];
      socket.addEventListener('message', (event) => heard.push(String(event.data)));
      await until('the socket is open', 10_000, () => socket.readyState === WebSocket.OPEN);
      return { socket, heard };
    };
    const [ada, ben] = await Promise.all([open(), open()]);
    ada.socket.send('hello from Ada');
    await until('Ben hears Ada', 10_000, () => ben.heard.includes('hello from Ada'));
    ben.socket.send('ünïcode back ✓');
    await until('Ada hears Ben', 10_000, () => ada.heard.includes('ünïcode back ✓'));
    assert.deepEqual(ada.heard, ben.heard);
    ada.socket.close();
    ben.socket.close();
    await until('both are closed', 10_000, () => ada.socket.readyState === WebSocket.CLOSED && ben.socket.readyState === WebSocket.CLOSED);
    await remove('chat');
  });

  test('jobs works, migrates once per Deployment, reports by the clock, and keeps its visits', async () => {
    const params = { app: 'jobs', environment: 'production' };
    const logsOf = async (entrypoint: string): Promise<string> =>
      (await platform.cli('logs', '-a', 'jobs', '--entrypoint', entrypoint, '--raw')).stdout;
    const migrations = async (): Promise<ReadonlyMap<number | null, number>> => {
      const { items } = await platform.client().instances.list({ params, query: { all: true } });
      const counted = new Map<number | null, number>();
      for (const item of items) if (item.role === 'before-deploy') counted.set(item.deployment, (counted.get(item.deployment) ?? 0) + 1);
      return counted;
    };

    await deploy(copyOf('jobs'));
    assert.match((await platform.get('jobs.localhost')).body, /good morning, visitor 1/u);
    assert.match((await platform.get('jobs.localhost')).body, /good morning, visitor 2/u);
    await until('the worker works', 20_000, async () => /worked off job 2/u.test(await logsOf('worker')));
    assert.deepEqual([...(await migrations())], [[1, 1]]);
    const { entrypoints } = await platform.client().environments.get({ params });
    const next = entrypoints.find((entrypoint) => entrypoint.name === 'report')?.nextTickMs ?? 0;
    assert.equal(next % 300_000, 0, 'the next report is due at a full five minutes');

    await deploy(copyOf('jobs', { 'libra.yaml': [/"\*\/5 \* \* \* \*"/u, '"* * * * * *"'] }));
    const reports = new Set<string>();
    await until('two reports were written', 20_000, async () => {
      // The log of a schedule is that of its latest run.
      for (const line of (await logsOf('report')).match(/^report of 2.*$/gmu) ?? []) reports.add(line);
      return reports.size >= 2;
    });
    assert.match((await platform.get('jobs.localhost')).body, /good morning, visitor 3/u, 'the volume came along');
    const counted = await migrations();
    assert.deepEqual([counted.size, counted.get(1), counted.get(2)], [2, 1, 1]);
    const { items } = await platform.client().instances.list({ params, query: { all: true } });
    const ticks = items.filter((item) => item.role === 'schedule');
    assert.ok(
      ticks.every((item) => item.deployment === 2 && item.phase !== 'failed'),
      JSON.stringify(ticks),
    );
    assert.equal(new Set(ticks.map((item) => item.id)).size, ticks.length);
    await remove('jobs');
  });

  test('prometheus scrapes itself through the Edge and keeps its series', { skip: lacking('prometheus') }, async () => {
    const scrape = `scrape_configs: [{ job_name: edge, static_configs: [{ targets: ["127.0.0.1:${platform.edgePort}"] }] }]`;
    const folder = copyOf('prometheus', { 'libra.yaml': REACHABLE, 'prometheus.yml': [/scrape_configs: \[\]/u, scrape] });
    const config = join(folder, 'prometheus.yml');
    writeFileSync(config, readFileSync(config, 'utf8').replace('5s', '1s'));
    const samples = async (): Promise<readonly (readonly [number, string])[]> => {
      const reply = await platform.get('127.0.0.1', `/api/v1/query?query=${encodeURIComponent('up{job="edge"}[10m]')}`);
      assert.equal(reply.status, 200, reply.body);
      // The documented reply of Prometheus to a range selector.
      const { data } = JSON.parse(reply.body) as { data: { result: { values: [number, string][] }[] } };
      return data.result[0]?.values ?? [];
    };
    await deploy(folder);
    const first = await until('it has scraped itself', 20_000, async () => (await samples()).find(([, up]) => up === '1'));
    const { stdout } = await run('promtool', ['query', 'instant', `http://127.0.0.1:${platform.edgePort}`, 'vector(42)'], {
      timeout: 20_000,
    });
    assert.match(stdout, /=> 42 @/u);
    await deploy(folder);
    assert.deepEqual(
      (await samples()).find(([, up]) => up === '1'),
      first,
      'the first sample is still there after a redeployment',
    );
    await remove('prometheus');
  });

  test('verdaccio takes a package from npm publish and gives it to npm install', { skip: lacking('npm') }, async () => {
    const folder = copyOf('verdaccio', { 'libra.yaml': REACHABLE });
    await writeNpmrc(folder);
    await deploy(folder);
    const registry = `http://127.0.0.1:${platform.edgePort}/`;
    const joined = await platform.get('127.0.0.1', '/-/user/org.couchdb.user:ada', {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'ada', password: 'correct horse battery' }),
    });
    assert.equal(joined.status, 201, joined.body);
    const { token } = JSON.parse(joined.body) as { token: string }; // the reply of every npm registry

    const home = writeApp(platform, 'npm-home', {
      '.npmrc': `registry=${registry}\n//127.0.0.1:${platform.edgePort}/:_authToken=${token}\nupdate-notifier=false\nfetch-retries=0\n`,
      'tiny/package.json': JSON.stringify({ name: 'tiny-package', version: '1.2.3', type: 'module', main: 'index.js' }),
      'tiny/index.js': "export const said = 'published through the Edge';\n",
      'user/package.json': JSON.stringify({ name: 'user', version: '1.0.0', private: true, type: 'module' }),
      'user/main.js': "import { said } from 'tiny-package'; console.log(said);\n",
    });
    mkdirSync(join(home, 'cache'));
    const npm = async (place: string, ...words: readonly string[]): Promise<string> => {
      const env = {
        PATH: process.env['PATH'] ?? '',
        HOME: home,
        npm_config_userconfig: join(home, '.npmrc'),
        npm_config_cache: join(home, 'cache'),
      };
      return (await run('npm', [...words, '--no-audit', '--no-fund'], { cwd: join(home, place), env, timeout: 40_000 })).stdout;
    };
    assert.match(await npm('tiny', 'publish'), /tiny-package@1\.2\.3/u);
    assert.match(await npm('user', 'view', 'tiny-package', 'dist.tarball'), new RegExp(`^${registry}tiny-package/`, 'u'));
    await npm('user', 'install', 'tiny-package');
    const { stdout } = await run(process.execPath, ['main.js'], { cwd: join(home, 'user') });
    assert.equal(stdout, 'published through the Edge\n');
    await remove('npm');
  });
});
