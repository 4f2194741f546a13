// Images on a Node with Docker, end to end: deployed, reached, redeployed under load, looked into, and found again after a kill −9.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { ReplyOf } from '../../src/api/endpoint.ts';
import type { ApiTable } from '../../src/api/table.ts';
import { copyNode, startTestDocker } from '../../src/driver/docker/dockerd-fixture.ts';
import type { TestDocker } from '../../src/driver/docker/dockerd-fixture.ts';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { startLoad } from '../fixtures/load.ts';
import { Platform, root, until } from '../platform.ts';
import { lacking } from '../requirements.ts';

type Instance = ReplyOf<ApiTable['instances']['get']>;

const RESOURCES = 'resources: { cpu: 0.2, memory: 128Mi }';

/** Bytes of all files in a folder. */
const sizeOf = (folder: string): number =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);

describe('images on Docker', { skip: lacking('dockerd') }, () => {
  let docker: TestDocker;
  let platform: Platform;

  before(async () => {
    docker = await startTestDocker();
    platform = new Platform({ env: { LIBRA_DOCKER: docker.url, LIBRA_DOCKER_SUBNETS: '10.244.0.0/16' } });
    await platform.start();
    await docker.image(
      'node-test',
      (root) => {
        copyNode(root);
        for (const text of ['one', 'two']) writeFileSync(join(root, `${text}.mjs`), serverApp({ text })['server.mjs'] ?? '');
      },
      ['ENV PATH=/bin', 'WORKDIR /', 'CMD ["node","one.mjs"]'],
    );
  });
  after(async () => {
    await platform.dispose();
    await docker.stop();
  });

  const shop = (web: readonly string[] = [], image = 'node-test', deadline = '30s'): string =>
    writeApp(platform, 'shop', {
      'libra.yaml': [
        'app: shop',
        `build: { image: ${image} }`,
        'entrypoints:',
        '  web:',
        '    health: { http: /healthz }',
        `    ${RESOURCES}`,
        `    rollout: { drain: 1s, deadline: ${deadline} }`,
        ...web.map((line) => `    ${line}`),
      ].join('\n'),
    });
  const deploy = async (folder: string): Promise<void> => {
    const result = await platform.cli('deploy', folder);
    assert.equal(result.code, 0, result.stderr + result.stdout);
  };
  /** What the command line shows on a terminal, which script(1) makes. */
  const inTerminal = (...words: readonly string[]): string => {
    const line = ['libra', ...words].map((word) => `'${word}'`).join(' ');
    const env = { ...platform.env, PATH: `${join(root, 'bin')}:${platform.env['PATH']}` };
    return execFileSync('script', ['-qec', line, '/dev/null'], {
      encoding: 'utf8',
      env,
      timeout: 30_000,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
  };
  const instances = async (app: string): Promise<readonly Instance[]> => {
    const { items } = await platform.client().instances.list({ params: { app, environment: 'production' } });
    return items.filter((item) => item.role === 'service');
  };
  const containers = async (): Promise<readonly string[]> =>
    (await docker.engine.listContainers(['libra.platform'])).filter(({ state }) => state === 'running').map(({ id }) => id);

  test('an image is deployed, reached through the Edge and looked into', async () => {
    await deploy(shop());
    assert.equal((await platform.get('shop.localhost')).body, 'one');
    const env = JSON.parse((await platform.get('shop.localhost', '/env')).body) as Record<string, string>;
    assert.deepEqual([env['HOST'], env['PATH'], env['LIBRA_APP'], env['LIBRA_NODE']], ['0.0.0.0', '/bin', 'shop', 'test-node']);
    const exec = await platform.cli('exec', '-a', 'shop', '--', 'sh', '-c', 'echo $LIBRA_APP; exit 3');
    assert.deepEqual([exec.code, exec.stdout], [3, 'shop\n']);
    assert.match(
      inTerminal('exec', '-a', 'shop', '--tty', '--', 'sh', '-c', 'test -t 0 && until stty size | grep 80; do sleep 0.1; done'),
      /24 80\r?$/mu,
    );
    const refused = await platform.cli('exec', '-a', 'shop', '--tty', '--', 'sh');
    assert.deepEqual([refused.code, /no terminal/u.test(refused.stderr)], [2, true]);
    const file = join(platform.data, 'copied.txt');
    writeFileSync(file, 'by hand', { mode: 0o640 });
    assert.equal((await platform.cli('cp', file, 'shop/web:/tmp')).code, 0);
    const seen = await platform.cli('exec', '-a', 'shop', '--', 'sh', '-c', 'stat -c "%a %u" /tmp/copied.txt; cat /tmp/copied.txt; id -u');
    assert.match(seen.stdout, /^640 (\d+)\nby hand\1\n$/u, seen.stderr);
    const back = await platform.cli('cp', 'shop:tmp', join(platform.data, 'back'), '--json');
    assert.equal(back.code, 0, back.stderr);
    assert.equal(readFileSync(join(platform.data, 'back/copied.txt'), 'utf8'), 'by hand');
    await until('what it takes is measured', 90_000, async () => (await instances('shop'))[0]?.usage?.memoryBytes ?? null);
  });

  test('a fixed port is the one inside: two Instances of it stand side by side', async () => {
    await deploy(shop(['port: 3000', 'instances: 2']));
    assert.deepEqual(
      (await instances('shop')).map(({ healthy }) => healthy),
      [true, true],
    );
    const env = JSON.parse((await platform.get('shop.localhost', '/env')).body) as Record<string, string>;
    assert.equal(env['PORT'], '3000');
  });

  test('is redeployed under load without losing a request', async () => {
    const load = startLoad({
      port: platform.edgePort,
      host: 'shop.localhost',
      keptAlive: 2,
      fresh: 2,
      pauseMs: 5,
      accept: (status, body) => status === 200 && (body === 'one' || body === 'two'),
    });
    await deploy(shop(['port: 3000', 'instances: 2', 'command: node two.mjs']));
    const { requests, failures } = await load.stop();
    assert.deepEqual(failures, []);
    assert.ok(requests > 100, `${requests} requests`);
    assert.equal((await platform.get('shop.localhost')).body, 'two');
  });

  test('kill −9 of librad: the same containers serve on and are adopted, and no line of output is lost or repeated', async () => {
    const code =
      'let n = 0; setInterval(() => console.log(`tick ${(n += 1)}`), 20); require("http").createServer((q, r) => r.end("ok")).listen(process.env.PORT);';
    await deploy(
      writeApp(platform, 'clock', {
        'libra.yaml': `app: clock\nbuild: { image: node-test }\nentrypoints:\n  web:\n    command: [node, -e, '${code}']\n    ${RESOURCES}\n`,
      }),
    );
    const running = (await containers()).toSorted();
    const [before] = await instances('clock');
    await platform.kill();
    assert.deepEqual((await containers()).toSorted(), running);
    assert.equal((await platform.get('clock.localhost')).body, 'ok');
    await platform.start();
    await until('it is adopted', 90_000, async () => (await instances('clock'))[0]?.healthy === true);
    assert.deepEqual((await containers()).toSorted(), running);
    const [now] = await instances('clock');
    assert.deepEqual([now?.id, now?.pid, now?.restarts], [before?.id, before?.pid, 0]);
    const ticks = async (): Promise<readonly string[]> => {
      const { stdout } = await platform.cli('logs', '-a', 'clock', '--tail', '10000');
      return [...stdout.matchAll(/tick (\d+)/gu)].map(([, n = '']) => n);
    };
    const seen = await until('it ticks on', 90_000, async () => {
      const all = await ticks();
      return all.length > 200 ? all : null;
    });
    assert.deepEqual(
      seen,
      Array.from(seen, (_unused, at) => String(at + 1)),
    );
  });

  test('a container reads its token as the user of its image, also the one that follows', async () => {
    await docker.image('with-user', undefined, ['ENV PATH=/bin', 'USER 1000:1000', 'CMD ["httpd","-f","-p","8080"]']);
    await deploy(
      writeApp(platform, 'badge', {
        'libra.yaml': `app: badge\nbuild: { image: with-user }\nentrypoints:\n  web: { port: 8080, container: { readOnly: true }, ${RESOURCES} }\n`,
      }),
    );
    const run = (script: string): ReturnType<Platform['cli']> => platform.cli('exec', '-a', 'badge', '--', 'sh', '-c', script);
    const look = await run('cat $LIBRA_IDENTITY_FILE; echo; id -u; echo $LIBRA_IDENTITY_FILE');
    const [token = '', ...others] = look.stdout.trim().split('\n');
    assert.deepEqual(others, ['1000', '/run/libra/identity/token'], look.stderr);
    const call = (bearer: string): Promise<Response> =>
      fetch(`${platform.addresses.api}/v1/apps`, { headers: { authorization: `Bearer ${bearer}` } });
    assert.equal((await call(token)).status, 403);
    for (const change of ['echo x > $LIBRA_IDENTITY_FILE', 'rm $LIBRA_IDENTITY_FILE', 'touch /run/libra/identity/x'])
      assert.notEqual((await run(change)).code, 0, change);
    // Whatever the next agent finds, it signs anew.
    await platform.kill();
    await platform.start();
    const next = await until('the container sees another one', 90_000, async () => {
      const { code, stdout } = await run('cat $LIBRA_IDENTITY_FILE');
      return code === 0 && stdout !== token ? stdout : null;
    });
    assert.equal((await call(next)).status, 403);
    assert.equal((await platform.cli('apps', 'delete', 'badge', '--yes')).code, 0);
  });

  test('a folder runs in its base image where the Node offers Docker alone; volumes and secret files are there', async () => {
    await platform.stop();
    await platform.startWith({ LIBRA_DRIVERS: 'docker' });
    const { 'server.mjs': code = '' } = serverApp({ text: 'from a folder', before: "import { readFileSync } from 'node:fs';" });
    assert.equal((await platform.cli('apps', 'create', 'folder')).code, 0);
    assert.equal((await platform.cliWith({ input: 'the key\n' }, 'secrets', 'set', 'tls-key', '-a', 'folder')).code, 0);
    await deploy(
      writeApp(platform, 'folder', {
        'libra.yaml': [
          'app: folder',
          'build: { base: node-test }',
          'entrypoints:',
          '  web:',
          '    command: node server.mjs',
          '    health: { http: /healthz }',
          `    ${RESOURCES}`,
          '    volumes: [{ name: data, path: /data, size: 10Mi }]',
          '    files: [{ secret: tls-key, path: /etc/key }]',
        ].join('\n'),
        'server.mjs': code,
      }),
    );
    assert.equal((await platform.get('folder.localhost')).body, 'from a folder');
    const run = async (script: string): Promise<string> => {
      const { code: exit, stdout, stderr } = await platform.cli('exec', '-a', 'folder', '--', 'sh', '-c', script);
      assert.equal(exit, 0, stderr);
      return stdout;
    };
    assert.equal(
      await run('cat /etc/key etc/key; echo kept > /data/file; cat data/file $LIBRA_VOLUME_DATA/file'),
      'the keythe keykept\nkept\n',
    );
    assert.match(await run('cat /proc/mounts'), /^tmpfs \/etc\/key tmpfs ro/mu);
    assert.match(await run('cat $LIBRA_IDENTITY_FILE'), /^ey[\w-]+\.ey[\w-]+\.[\w-]{86}$/u);
  });

  test('a Dockerfile is built with its output told, kept for other Nodes, and taken again where nothing changed', async () => {
    await docker.image('small', undefined, ['ENV PATH=/bin']);
    const files = (text: string, more = ''): Readonly<Record<string, string>> => ({
      'libra.yaml': `app: built\nbuild: { dockerfile: Dockerfile }\nentrypoints: { web: { ${RESOURCES} } }\n`,
      Dockerfile: `FROM small\nCOPY . /www/\nRUN echo made of it\n${more}WORKDIR /www\nCMD exec httpd -f -p $PORT\n`,
      'index.html': text,
      'notes.txt': 'for us alone',
      '.dockerignore': '*\n!index.*\n',
    });
    await deploy(writeApp(platform, 'built', files('built')));
    assert.equal((await platform.get('built.localhost')).body, 'built');
    const statuses = ['/index.html', '/notes.txt', '/Dockerfile'].map((path) => platform.get('built.localhost', path));
    assert.deepEqual(
      (await Promise.all(statuses)).map(({ status }) => status),
      [200, 404, 404],
    );
    const params = { app: 'built' };
    const [first] = (await platform.client().releases.list({ params })).items;
    assert.ok(first?.buildInstanceId);
    const { stdout } = await platform.cli('logs', '-a', 'built', '--instance', first.buildInstanceId);
    assert.match(stdout, /Step 3\/6 : RUN echo made of it[^]*made of it/u);
    // What images share is kept once: busybox alone has more.
    const before = sizeOf(join(platform.data, 'blobs'));
    await deploy(writeApp(platform, 'built', files('built anew')));
    assert.ok(sizeOf(join(platform.data, 'blobs')) - before < 500_000);
    const [second] = (await platform.client().releases.list({ params })).items;
    // As on a Node that has not built it, nor has the base: not a layer of it is there.
    await platform.cli('scale', 'web=0', '-a', 'built');
    await until('nothing of it runs', 90_000, async () => (await instances('built')).every(({ phase }) => phase === 'stopped'));
    for (const name of [first.artifact, second?.artifact, 'small']) {
      await docker.engine.removeImage((await docker.engine.image(name ?? ''))?.id ?? '');
      assert.equal(await docker.engine.image(name ?? ''), null);
    }
    await platform.cli('scale', 'web=1', '-a', 'built');
    await until('it answers again', 90_000, async () => (await platform.get('built.localhost')).body === 'built anew');
    await docker.image('small', undefined, ['ENV PATH=/bin']);
    await deploy(writeApp(platform, 'built', files('built anew')));
    const [third] = (await platform.client().releases.list({ params })).items;
    assert.deepEqual([third?.number, third?.buildInstanceId, third?.artifact], [3, null, second?.artifact]);
    const broken = await platform.cli('deploy', writeApp(platform, 'built', files('built', 'RUN no-such-command\n')));
    assert.equal(broken.code, 1);
    assert.match(broken.stdout + broken.stderr, /no-such-command/u);
    assert.equal((await platform.get('built.localhost')).body, 'built anew');
  });

  test('what a container may do with its machine an administrator says; the Node looks where a path leads', async () => {
    const place = realpathSync(mkdtempSync(join(tmpdir(), 'libra-place-')));
    for (const name of ['media', 'secret']) {
      mkdirSync(join(place, name), { mode: 0o755 });
      writeFileSync(join(place, name, 'file'), `of ${name}\n`);
    }
    try {
      await docker.image('small', undefined, ['ENV PATH=/bin']);
      const folder = writeApp(platform, 'films', {
        'libra.yaml': [
          'app: films',
          'build: { image: small }',
          'entrypoints:',
          '  web:',
          `    ${RESOURCES}`,
          '    command: [sh, -c, "exec httpd -f -p $PORT -h /media"]',
          '    container:',
          '      readOnly: true',
          '      host:',
          `        folders: [{ path: ${join(place, 'media')}, target: /media, readOnly: true }]`,
        ].join('\n'),
      });
      const refused = await platform.cli('deploy', folder);
      assert.equal(refused.code, 1, refused.stdout + refused.stderr);
      const told = `libra grants add films/production folder:${join(place, 'media')}:ro`;
      assert.ok((refused.stdout + refused.stderr).includes(told), refused.stdout + refused.stderr);
      assert.equal((await platform.cli('apps', 'create', 'films')).code, 0);
      assert.equal((await platform.cli('grants', 'add', 'films/production', `folder:${join(place, 'media')}:ro`)).code, 0);
      await deploy(folder);
      assert.equal((await platform.get('films.localhost', '/file')).body, 'of media\n');
      // Somebody leads the folder elsewhere: what runs stays as it is, and what starts then is refused.
      renameSync(join(place, 'media'), join(place, 'before'));
      symlinkSync(join(place, 'secret'), join(place, 'media'));
      const swapped = await platform.cli('restart', '-a', 'films');
      assert.equal(swapped.code, 1);
      assert.match(swapped.stdout + swapped.stderr, /secret of its machine.*which no administrator has granted/u);
      assert.equal((await platform.get('films.localhost', '/file')).body, 'of media\n');
      const { stdout } = await platform.cli('grants', '--json');
      const [grant] = JSON.parse(stdout) as { id: string; app: string; power: string }[];
      assert.deepEqual([grant?.app, grant?.power], ['films', `folder:${join(place, 'media')}:ro`]);
      assert.equal((await platform.cli('grants', 'remove', grant?.id ?? '')).code, 0);
      const after = await platform.cli('restart', '-a', 'films');
      assert.deepEqual([after.code, (after.stdout + after.stderr).includes(told)], [1, true], after.stdout + after.stderr);
    } finally {
      rmSync(place, { recursive: true, force: true });
    }
  });

  test('an image that is nowhere, and a command that is not in it, end the deploy with the reason', async () => {
    const missing = await platform.cli('deploy', shop([], '127.0.0.1:9/nothing:1', '3s'));
    assert.equal(missing.code, 1);
    assert.match(missing.stdout + missing.stderr, /127\.0\.0\.1:9\/nothing:1 cannot be fetched/u);
    const wrong = await platform.cli('deploy', shop(['command: no-such-program']));
    assert.equal(wrong.code, 1);
    assert.match(wrong.stdout + wrong.stderr, /no-such-program/u);
    assert.equal((await platform.get('shop.localhost')).body, 'two');
  });
});
