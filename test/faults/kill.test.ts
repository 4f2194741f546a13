// kill −9 of librad, the data plane, Instances and one-offs at random moments of a Deployment, with a fixed seed: nothing acknowledged
// is lost, no process is left over, the final state is right, and only what was in flight in the killed process fails.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { createSeededRandom, newToken } from '../../src/lib/id.ts';
import { FINAL_DEPLOYMENT_PHASES } from '../../src/model/documents.ts';
import { packFolder } from '../../src/sys/bundle-pack.ts';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { startLoad } from '../fixtures/load.ts';
import { sized } from '../full-size.ts';
import { Platform, until } from '../platform.ts';

const ROUNDS = sized({ usual: 5, full: 30, setting: 'LIBRA_TEST_KILL_ROUNDS' });
const SEED = Number(process.env['LIBRA_TEST_SEED'] ?? 20_261_121);
const LOOPS = 4;

type Victim = 'librad' | 'data plane' | 'instance' | 'one-off';
const VICTIMS: readonly Victim[] = ['librad', 'data plane', 'instance', 'one-off', 'librad', 'data plane'];

const app = (version: number): Readonly<Record<string, string>> => ({
  ...serverApp({ text: `version ${version}`, instances: 2, before: `// ${version}` }),
  'libra.yaml': `app: shop
entrypoints:
  web:
    command: node server.mjs
    health: { http: /healthz }
    instances: 2
    resources: { cpu: 0.2, memory: 128Mi }
    rollout: { drain: 1s, deadline: 30s }
  migrate: { command: node migrate.mjs, run: before-deploy, resources: { cpu: 0.2, memory: 128Mi } }
`,
  'migrate.mjs': `console.log('migrating to ${version}'); setTimeout(() => console.log('migrated'), 300);`,
});

/** Processes that carry the variable of an Instance of this platform, by Instance id. */
function instanceProcesses(platform: Platform): Map<string, number[]> {
  const found = new Map<string, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/u.test(name)) continue;
    try {
      const variables = readFileSync(`/proc/${name}/environ`, 'utf8').split('\0');
      const command = readFileSync(`/proc/${name}/cmdline`, 'utf8');
      const id = variables.find((variable) => variable.startsWith('LIBRA_INSTANCE='))?.slice('LIBRA_INSTANCE='.length);
      if (id === undefined || command === '' || !variables.some((variable) => variable.includes(platform.data))) continue;
      found.set(id, [...(found.get(id) ?? []), Number(name)]);
    } catch {
      // Gone meanwhile.
    }
  }
  return found;
}

function killNow(pid: number | null | undefined): boolean {
  if (pid === null || pid === undefined) return false;
  try {
    process.kill(pid, 'SIGKILL');
    return true;
  } catch {
    return false;
  }
}

describe('kill −9 at random moments', () => {
  const platform = new Platform();
  before(() => platform.start());
  after(() => platform.dispose());

  test(`${ROUNDS} rounds, seed ${SEED}`, async (t) => {
    const random = createSeededRandom(SEED);
    const params = { app: 'shop', environment: 'production' };
    assert.equal((await platform.cli('deploy', writeApp(platform, 'shop', app(0)))).code, 0);
    const versionOfRelease = new Map<number, number>([[1, 0]]);
    const tally: Record<string, number> = {};
    let lostInFlight = 0;

    for (let round = 1; round <= ROUNDS; round += 1) {
      // Each of them at first, however few rounds there are; then whichever.
      const victim = VICTIMS[round <= VICTIMS.length ? round - 1 : Math.floor(random.next() * VICTIMS.length)] ?? 'librad';
      // A migration takes 300 ms: for it the moment is any of those, for the others any of the whole Deployment.
      const delayMs = Math.floor(random.next() * (victim === 'one-off' ? 100 : 1800));
      const folder = writeApp(platform, 'shop', app(round));
      const client = platform.client();
      const load = startLoad({
        port: platform.edgePort,
        host: 'shop.localhost',
        keptAlive: LOOPS / 2,
        fresh: LOOPS / 2,
        pauseMs: 5,
        accept: (status, body) => status === 200 && body.startsWith('version '),
      });

      const bundle = await packFolder(folder);
      await client.blobs.upload({ params: { digest: bundle.digest }, query: { offset: 0, final: true }, body: bundle.openStream() });
      await bundle.remove();
      const release = await client.releases.create({
        params,
        body: { manifest: readFileSync(`${folder}/libra.yaml`, 'utf8'), bundle: bundle.digest },
        idempotencyKey: newToken('test'),
      });
      versionOfRelease.set(release.number, round);
      const deployment = await client.deployments.create({
        params,
        body: { cause: 'deploy', release: release.number },
        idempotencyKey: newToken('test'),
      });

      await new Promise((resolve) => setTimeout(resolve, delayMs));
      const list = (): ReturnType<typeof client.instances.list> => client.instances.list({ params, query: { all: false } });
      if (victim === 'one-off') {
        await until('the migration runs', 20_000, async () =>
          (await list()).items.some((item) => item.role === 'before-deploy' && item.pid !== null),
        );
      }
      const instances = await list();
      const oneOff = instances.items.find((item) => item.role === 'before-deploy' && item.pid !== null);
      const services = instances.items.filter((item) => item.role === 'service' && item.pid !== null);
      let killed: string = victim;
      if (victim === 'librad') {
        await platform.kill();
        await platform.start();
      } else if (victim === 'data plane') {
        const plane = platform.processes().find((one) => / data-plane /u.test(one.command));
        assert.ok(plane, 'the data plane runs');
        killNow(plane.pid);
      } else if (victim === 'one-off' && oneOff !== undefined) killNow(oneOff.pid);
      else {
        killed = 'instance';
        killNow(services[Math.floor(random.next() * services.length)]?.pid);
      }
      tally[killed] = (tally[killed] ?? 0) + 1;
      const where = `round ${round}: ${killed} killed after ${delayMs} ms`;

      const again = platform.client();
      const ended = await until(`${where}: the Deployment ends`, 90_000, async () => {
        const view = await again.deployments.get({ params: { ...params, deployment: String(deployment.number) } });
        return FINAL_DEPLOYMENT_PHASES.has(view.phase) ? view : null;
      });
      if (killed === 'one-off') assert.equal(ended.phase, 'failed', `${where}: a killed migration fails the Deployment`);
      else if (killed !== 'instance')
        assert.equal(ended.phase, 'succeeded', `${where}: ${JSON.stringify(ended.reason)} ${JSON.stringify(ended.log)}`);

      const settled = await until(`${where}: two healthy Instances of the Deployment that serves`, 60_000, async () => {
        const environment = await again.environments.get({ params });
        const { items } = await again.instances.list({ params, query: { all: false } });
        const web = items.filter((item) => item.role === 'service');
        return environment.candidate === null &&
          web.length === 2 &&
          web.every((item) => item.healthy && !item.draining && item.deployment === environment.stable)
          ? { environment, web }
          : null;
      });
      const result = await load.stop();
      if (killed === 'librad') assert.deepEqual(result.failures, [], `${where}: nobody notices`);
      assert.ok(result.failures.length <= LOOPS, `${where}: more failed than was in flight: ${result.failures.join('\n')}`);
      lostInFlight += result.failures.length;

      assert.equal((await again.releases.get({ params: { app: 'shop', release: String(release.number) } })).state, 'ready', where);
      const serving = versionOfRelease.get(settled.environment.release ?? 0);
      const replies = await Promise.all(Array.from({ length: 6 }, () => platform.get('shop.localhost')));
      assert.deepEqual([...new Set(replies.map((reply) => reply.body))], [`version ${serving}`], where);
      await until(`${where}: no Instance is left over`, 20_000, () => {
        const running = instanceProcesses(platform);
        return running.size === 2 && settled.web.every((item) => running.has(item.id));
      });
    }
    t.diagnostic(`killed: ${JSON.stringify(tally)}; requests lost in flight: ${lostInFlight}`);

    const deployments = await platform.client().deployments.list({ params, query: { limit: 500 } });
    assert.deepEqual(
      deployments.items.map((item) => item.number),
      Array.from({ length: deployments.items.length }, (_, index) => ROUNDS + 1 - index),
      'no Deployment is missing or doubled',
    );
  });
});
