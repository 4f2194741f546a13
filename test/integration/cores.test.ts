// Cores of an Instance's own, as the kernel sees them: nobody else may run there, whatever comes, goes or is killed meanwhile.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { writeApp } from '../fixtures/app-folder.ts';
import { until, withPlatform } from '../platform.ts';
import type { Platform } from '../platform.ts';
import { lacking } from '../requirements.ts';

const code = "console.log('pid ' + process.pid); setInterval(() => {}, 1000)";
const manifest = (app: string, resources: string): Readonly<Record<string, string>> => ({
  'libra.yaml': `app: ${app}\nentrypoints:\n  worker: { command: node main.cjs, resources: { memory: 64Mi, ${resources} } }\n`,
  'main.cjs': code,
});

/** Cores on which the one Instance of the App may run. */
async function coresOf(platform: Platform, app: string): Promise<string> {
  const pid = await until(`${app} runs`, 20_000, async () => {
    const { stdout } = await platform.cli('logs', '--app', app, '--tail', '20');
    return /pid (\d+)/u.exec(stdout)?.[1] ?? null;
  });
  return /^Cpus_allowed_list:\s+(.*)$/mu.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
}

async function deploy(platform: Platform, app: string, resources: string): Promise<void> {
  const deployed = await platform.cli('deploy', writeApp(platform, app, manifest(app, resources)));
  assert.equal(deployed.code, 0, deployed.stderr);
}

test('nobody else runs on cores of an Instance’s own, over a kill -9 and until it is deleted', { skip: lacking('cgroup') }, async (t) => {
  if (availableParallelism() < 2) return t.skip('needs two cores');
  await withPlatform(async (platform) => {
    const { items } = await platform.client().nodes.list({ query: {} });
    const cores = items[0]?.drivers.find(({ name }) => name === 'process')?.limits.cores ?? 'unknown';
    if (cores !== 'enforced') return t.skip(`cores cannot be given away here: ${cores}`);
    await deploy(platform, 'before', 'cpu: 0.1');
    const all = await coresOf(platform, 'before');
    await deploy(platform, 'quotes', 'cpu: { cores: 1, bind: true }');
    const own = await coresOf(platform, 'quotes');
    assert.match(own, /^\d+$/u);
    await deploy(platform, 'after', 'cpu: 0.1');
    const others = async (): Promise<readonly string[]> => [await coresOf(platform, 'before'), await coresOf(platform, 'after')];
    const free = await others();
    for (const its of free) assert.ok(its !== all && !its.split(/[-,]/u).includes(own), `${its} beside ${own}`);

    await platform.kill();
    await platform.start();
    await deploy(platform, 'later', 'cpu: 0.1');
    assert.deepEqual([...(await others()), await coresOf(platform, 'later')], [...free, free[0]]);
    assert.equal(await coresOf(platform, 'quotes'), own);

    assert.equal((await platform.cli('apps', 'delete', 'quotes', '--yes')).code, 0);
    await until('the others have all cores again', 20_000, async () => (await others()).every((its) => its === all));
  });
});
