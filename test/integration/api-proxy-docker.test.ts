// Apps in containers call each other by names, and say nothing of who they are: the network does. No other way leads from one to another.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { copyNode, startTestDocker } from '../../src/driver/docker/dockerd-fixture.ts';
import type { TestDocker } from '../../src/driver/docker/dockerd-fixture.ts';
import { writeApp } from '../fixtures/app-folder.ts';
import { Platform, until } from '../platform.ts';
import { lacking } from '../requirements.ts';

const SERVER = `
require('node:http')
  .createServer((request, response) => response.end(request.url + ' of ' + request.headers.host + ' by ' + request.headers['x-libra-caller']))
  .listen(process.env.PORT, process.env.HOST);
`;

describe('Apps in containers call each other', { skip: lacking('dockerd') }, () => {
  let docker: TestDocker;
  let platform: Platform;

  before(async () => {
    docker = await startTestDocker();
    platform = new Platform({ env: { LIBRA_DOCKER: docker.url, LIBRA_DOCKER_SUBNETS: '10.238.0.0/16' } });
    await platform.start();
    await docker.image(
      'any',
      (root) => {
        copyNode(root);
        writeFileSync(join(root, 'server.cjs'), SERVER);
      },
      ['ENV PATH=/bin', 'CMD ["node","/server.cjs"]'],
    );
    await deploy('api', ['provides: { s: { entrypoint: web, path: /v1, allow: [caller] } }', web('web', '')]);
    await deploy('caller', ['uses: [api.s]', web('worker', 'command: [sleep, "100000"]')]);
    await deploy('stranger', ['uses: [api.s]', web('worker', 'command: [sleep, "100000"]')]);
  });
  after(async () => {
    await platform.dispose();
    await docker.stop();
  });

  const web = (name: string, more: string): string =>
    `entrypoints: { ${name}: { ${more === '' ? '' : `${more}, `}resources: { cpu: { request: 0.1, limit: 1 }, memory: 96Mi }, stop: { timeout: 1s } } }`;
  const deploy = async (app: string, lines: readonly string[]): Promise<void> => {
    const folder = writeApp(platform, app, { 'libra.yaml': [`app: ${app}`, 'build: { image: any }', ...lines].join('\n') });
    const result = await platform.cli('deploy', folder);
    assert.equal(result.code, 0, result.stderr + result.stdout);
  };
  const inside = (app: string, ...argv: readonly string[]): ReturnType<Platform['cli']> => platform.cli('exec', '-a', app, '--', ...argv);
  /** The answer with its status, or why there is none. `url` is an expression of the program inside. */
  const ask = async (app: string, url: string): Promise<string> => {
    const script = `fetch(${url}, { signal: AbortSignal.timeout(3000) })
      .then(async (answer) => console.log(answer.status, await answer.text()))
      .catch((error) => console.log('nothing', String(error.cause ?? error)))`;
    return (await inside(app, 'node', '-e', script)).stdout.trim();
  };

  test('by the name of a Service, and by the variable; who calls is known by the network', async () => {
    assert.equal(await ask('caller', '"http://s.api.libra/a?b"'), '200 /v1/a?b of s.api.libra by caller/production/worker');
    assert.equal(await ask('caller', 'process.env.LIBRA_SERVICE_API_S + "/c"'), '200 /v1/c of s.api.libra by caller/production/worker');
  });

  test('whom the provider does not let in gets no answer of it, by whatever way', async () => {
    assert.match(await ask('stranger', '"http://s.api.libra/"'), /^403 .*does not allow stranger\/production/u);
    const all = await docker.engine.listContainers(['libra.platform']);
    const { items } = await platform.client().instances.list({ params: { app: 'api', environment: 'production' }, query: {} });
    const target = all.find(({ labels }) => labels['libra.key']?.startsWith(items[0]?.id ?? '-') === true);
    const [address = ''] = Object.values(target?.addresses ?? {});
    assert.match(address, /^10\.238\./u);
    const port = items[0]?.address?.port ?? 0;
    const inner = (await inside('api', 'sh', '-c', 'echo $PORT')).stdout.trim();
    // Each way would answer, had it led there: so it does from within, and from the machine.
    assert.match(await ask('api', `"http://${address}:${inner}/"`), / by undefined/u);
    assert.match(await (await fetch(`http://127.0.0.1:${port}/`)).text(), / by undefined/u);
    await Promise.all(
      [`${address}:${inner}`, `${address}:${port}`, `apiproxy.libra:${port}`].map(async (where) =>
        assert.match(await ask('caller', `"http://${where}/"`), /^nothing /u, where),
      ),
    );
  });

  test('the same after a kill -9 of librad, and for the containers of a new Deployment', async () => {
    await platform.kill();
    await platform.start();
    await until('it answers again', 30_000, async () =>
      (await ask('caller', '"http://s.api.libra/x"')).includes('by caller/production/worker'),
    );
    await deploy('caller', ['uses: [api.s]', web('worker', 'command: [sleep, "100001"]')]);
    assert.equal(await ask('caller', '"http://s.api.libra/y"'), '200 /v1/y of s.api.libra by caller/production/worker');
  });
});
