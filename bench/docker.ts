// From the request to 100 healthy containers, and to one, beside a plain loop of `docker run` on the same engine that waits until each
// answers. Needs root, dockerd and busybox-static. Run: node bench/docker.ts [--json] [--check] [--count=100]

import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startTestDocker } from '../src/driver/docker/dockerd-fixture.ts';
import type { TestDocker } from '../src/driver/docker/dockerd-fixture.ts';
import { writeApp } from '../test/fixtures/app-folder.ts';
import { Platform, until } from '../test/platform.ts';
import { runBench } from './report.ts';

const COUNT = Number(process.argv.find((word) => word.startsWith('--count='))?.slice('--count='.length) ?? 100);
/** Of the plain loop's time. */
const TARGET = 1.3;
const DEADLINE_MS = 600_000;
const WEB = ['httpd', '-f', '-p', '8080', '-h', '/www'];

async function answers(port: number): Promise<boolean> {
  const reply = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } }).catch(() => null);
  return reply !== null && (await reply.text()) === 'hello';
}

/** Runs that many, one after the other, until all answer. Answers milliseconds, and removes them. */
async function plainLoop(docker: TestDocker, image: string, count: number): Promise<number> {
  const cli = (...words: readonly string[]): string => execFileSync('docker', ['-H', docker.url, ...words], { encoding: 'utf8' }).trim();
  cli('network', 'create', '--subnet', '10.241.0.0/24', 'plain');
  const ids: string[] = [];
  try {
    const began = performance.now();
    for (let index = 0; index < count; index += 1)
      ids.push(cli('run', '-d', '--init', '--network', 'plain', '-p', '127.0.0.1::8080', image, ...WEB));
    for (const id of ids) {
      const port = Number(cli('port', id, '8080/tcp').split(':').at(-1));
      await until(`${id} answers`, DEADLINE_MS, () => answers(port));
    }
    return performance.now() - began;
  } finally {
    for (const id of ids) cli('rm', '-f', id);
    cli('network', 'rm', 'plain');
  }
}

await runBench(async () => {
  const docker = await startTestDocker();
  const platform = new Platform({ env: { LIBRA_DOCKER: docker.url, LIBRA_DOCKER_SUBNETS: '10.242.0.0/16' } });
  try {
    const image = await docker.image('hello', (root) => {
      mkdirSync(join(root, 'www'));
      writeFileSync(join(root, 'www/index.html'), 'hello');
    });
    await platform.start();
    const scale = async (count: number): Promise<number> => {
      const began = performance.now();
      const folder = writeApp(platform, `app${count}`, {
        'libra.yaml': [
          `app: app${count}`,
          `build: { image: '${image}' }`,
          'entrypoints:',
          '  web:',
          `    command: ${WEB.join(' ')}`,
          '    port: 8080',
          '    health: { http: / }',
          `    instances: ${count}`,
          '    resources: { cpu: { request: 0.01, limit: 1 }, memory: 16Mi }',
          '    rollout: { deadline: 10m }',
        ].join('\n'),
      });
      const result = await platform.cli('deploy', folder);
      if (result.code !== 0) throw new Error(`${result.stderr}${result.stdout}`);
      const tookMs = performance.now() - began;
      await platform.cli('apps', 'delete', `app${count}`, '--yes');
      await until('nothing of it is left', DEADLINE_MS, async () => (await docker.engine.listContainers([])).length === 0);
      return tookMs;
    };
    // The first one of each finds everything cold.
    await plainLoop(docker, image, 1);
    await scale(1);
    const [plainOne, ownOne] = [await plainLoop(docker, image, 1), await scale(1)];
    const [plainMany, ownMany] = [await plainLoop(docker, image, COUNT), await scale(COUNT)];
    return {
      bench: 'Containers on Docker, from the request to healthy',
      figures: [
        { name: '1 by docker run', value: plainOne, unit: 'ms' },
        { name: '1 by libra deploy, command line and rollout included', value: ownOne, unit: 'ms' },
        { name: `${COUNT} by a loop of docker run`, value: plainMany, unit: 'ms' },
        { name: `${COUNT} by libra deploy`, value: ownMany, unit: 'ms' },
        { name: `${COUNT} by libra deploy, as a multiple of the loop`, value: ownMany / plainMany, unit: '×', target: TARGET },
      ],
    };
  } finally {
    await platform.dispose();
    await docker.stop();
  }
});
