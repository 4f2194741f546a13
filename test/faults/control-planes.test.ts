// Two control planes on one store: whichever of them is asked answers, and whichever of them dies, stops or hangs, what was begun goes on.

import assert from 'node:assert/strict';
import { copyFileSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { isFailure } from '../../src/lib/failure.ts';
import { startTestCluster } from '../../src/store/etcd-fixture.ts';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { leaderOf, nodesAreUp, withPair } from '../fixtures/control-planes.ts';
import { startLoad } from '../fixtures/load.ts';
import { Platform, until } from '../platform.ts';
import { lacking } from '../requirements.ts';

const deploy = async (platform: Platform, text: string, instances = 2): Promise<void> => {
  const deployed = await platform.cli('deploy', writeApp(platform, 'shop', serverApp({ text, instances })));
  assert.equal(deployed.code, 0, deployed.stdout + deployed.stderr);
};

const makeOne = async (first: Platform, second: Platform): Promise<void> => {
  const clients = [first.client(), second.client()];
  for (let round = 0; round < 10; round += 1) {
    const named = await Promise.allSettled(clients.map((client) => client.apps.create({ body: { name: `named-${round}` } })));
    assert.deepEqual(named.map(({ status }) => status).sort(), ['fulfilled', 'rejected'], 'a name is given once');
    const failed = named.find(({ status }) => status === 'rejected');
    assert.ok(failed?.status === 'rejected' && isFailure(failed.reason, 'exists'), String(round));
    const idempotencyKey = `key-${round}`;
    const keyed = await Promise.all(clients.map((client) => client.apps.create({ body: { name: `keyed-${round}` }, idempotencyKey })));
    assert.equal(keyed[0]?.id, keyed[1]?.id, 'the same request is carried out once');
  }
};

describe('control planes', { skip: lacking('etcd') }, () => {
  test('both answer everything: what only the one that leads knows comes from there, with the own credential; asked at once for the same, both make one of it', () =>
    withPair(async ({ first, second }) => {
      assert.equal(await leaderOf(first), 'one');
      assert.equal(await leaderOf(second), 'one');
      await deploy(second, 'through the second');
      await until('both Edges have it', 10_000, async () => {
        const replies = await Promise.all([first, second].map((platform) => platform.get('shop.localhost', '/')));
        return replies.every(({ body }) => body === 'through the second');
      });
      const nodes = new Set(
        (JSON.parse((await second.cli('ps', '-a', 'shop', '--json')).stdout) as { node: string }[]).map(({ node }) => node), // our own reply
      );
      assert.deepEqual([...nodes].sort(), ['one', 'two'], 'the Instances are on both machines');
      const logs = await second.cli('logs', '-a', 'shop');
      assert.equal(logs.stdout.match(/listening/gu)?.length, 2, logs.stdout + logs.stderr);
      const ran = await second.cli('exec', '-a', 'shop', '--', 'echo', 'over there');
      assert.match(ran.stdout, /over there/u, ran.stderr);
      const copied = await second.cli('cp', 'shop:server.mjs', join(second.data, 'copied.mjs'));
      assert.equal(copied.code, 0, copied.stderr);
      assert.match(readFileSync(join(second.data, 'copied.mjs'), 'utf8'), /through the second/u);
      const histories = JSON.parse((await second.cli('nodes', 'stats', '--json')).stdout) as { node: string }[]; // our own reply
      assert.deepEqual(histories.map(({ node }) => node).sort(), ['one', 'two']);
      const many = await second.cli('run', '-a', 'shop', '--count', '2', '--', 'node', '-p', 'process.env.LIBRA_NODE');
      assert.deepEqual(many.stdout.match(/one|two/gu)?.sort(), ['one', 'two'], many.stdout + many.stderr);
      const status = await second.cli('status');
      assert.match(status.stdout, /control\s+one \(http:\S+, leads\), two \(http:\S+\)/u);
      for (const [platform, leads] of [
        [first, 1],
        [second, 0],
      ] as const) {
        const metrics = await fetch(`${platform.addresses.api}/metrics`, { headers: { authorization: `Bearer ${platform.token()}` } });
        assert.match(await metrics.text(), new RegExp(`^libra_control_leads ${leads}$`, 'mu'));
      }
      // Whose Instance it is, and whether the call is answered there or handed on: both know it by its token.
      const { items: running } = await second.client().instances.list({ params: { app: 'shop', environment: 'production' } });
      for (const { id } of running.filter(({ role }) => role === 'service')) {
        const { stdout: identity } = await second.cli('exec', '-a', 'shop', id, '--', 'sh', '-c', 'cat $LIBRA_IDENTITY_FILE');
        for (const { addresses } of [first, second]) {
          for (const method of ['GET', 'POST']) {
            const known = await fetch(`${addresses.api}/v1/apps`, { method, headers: { authorization: `Bearer ${identity}` } });
            assert.equal(known.status, 403, `${method}: ${await known.text()}`);
          }
        }
      }
      const anonymous = await fetch(`${second.addresses.api}/v1/nodes`);
      assert.equal(anonymous.status, 401);
      assert.equal((await second.cli('scale', '-a', 'shop', 'web=1')).code, 0);
      const { items } = await second.client().instances.list({ params: { app: 'shop', environment: 'production' } });
      assert.ok(items.length >= 1, 'who wrote through the second reads it there at once');
      await makeOne(first, second);
    }));

  test('a kill -9 of the one that leads in the middle of a Deployment is not seen by who follows it, nor by clients of the Edge', (t) =>
    withPair(async ({ first, second }) => {
      await deploy(second, 'one', 4);
      const load = startLoad({
        port: second.edgePort,
        host: 'shop.localhost',
        keptAlive: 2,
        fresh: 2,
        pauseMs: 10,
        accept: (status, body) => status === 200 && (body === 'one' || body === 'two'),
      });
      const folder = writeApp(second, 'shop', serverApp({ text: 'two', instances: 4 }));
      const deploying = second.cli('deploy', folder);
      await until('it is under way', 20_000, async () => {
        const { items } = await second.client().deployments.list({ params: { app: 'shop', environment: 'production' } });
        return items[0]?.number === 2 && items[0].phase !== 'waiting';
      });
      const killedMs = performance.now();
      await first.kill();
      const leads = until('the other one leads', 15_000, async () => (await leaderOf(second)) === 'two');
      await leads;
      const tookMs = performance.now() - killedMs;
      assert.ok(tookMs < 9_000, `${Math.round(tookMs)} ms`);
      const restarted = first.start();
      const { code, stdout, stderr } = await deploying;
      assert.equal(code, 0, stdout + stderr);
      const result = await load.stop();
      t.diagnostic(
        `another one led after ${Math.round(tookMs)} ms; the Deployment ended ${Math.round(performance.now() - killedMs)} ms after the kill; ${result.requests} requests, ${result.failures.length} failed`,
      );
      assert.deepEqual(result.failures, []);
      await restarted;
      assert.equal((await second.get('shop.localhost', '/')).body, 'two');
      await until('the Edge of the first has it too', 15_000, async () => (await first.get('shop.localhost', '/')).body === 'two');
      assert.equal(await leaderOf(first), 'two', 'who comes back stands by');
    }));

  test('the one that leads hangs, another one takes over, and when it wakes up it writes nothing and stands by', (t) =>
    withPair(async ({ first, second }) => {
      await deploy(second, 'one');
      const again = { body: { name: 'other' }, idempotencyKey: 'once' };
      const made = await first.client().apps.create(again);
      const { pid } = first.addresses;
      process.kill(pid, 'SIGSTOP');
      try {
        const stoppedMs = performance.now();
        await until('the other one leads', 20_000, async () => (await leaderOf(second)) === 'two');
        t.diagnostic(`another one led after ${Math.round(performance.now() - stoppedMs)} ms`);
        assert.equal((await second.client().apps.create(again)).id, made.id, 'what was asked of the one is known to the other');
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      await until('it knows', 15_000, async () => (await leaderOf(first)) === 'two');
      const log = readFileSync(join(first.data, 'logs/librad.log'), 'utf8');
      assert.match(log, /leads no longer/u);
      await until('its Node is up', 20_000, () => nodesAreUp(first, 2));
      await deploy(first, 'two');
      await until('both Edges have it', 15_000, async () => {
        const replies = await Promise.all([first, second].map((platform) => platform.get('shop.localhost', '/')));
        return replies.every(({ body }) => body === 'two');
      });
      assert.equal(first.addresses.pid, pid);
    }));

  test('an orderly stop hands over at once', (t) =>
    withPair(async ({ first, second }) => {
      await deploy(second, 'one');
      const other = until('the other one leads', 30_000, async () => ((await leaderOf(second)) === 'two' ? performance.now() : false));
      await first.stop();
      const goneMs = performance.now();
      const tookMs = (await other) - goneMs;
      t.diagnostic(`${Math.round(tookMs)} ms after the end of the first`);
      // Well before a lease would have run out, however busy the machine.
      assert.ok(tookMs < 3_500, `${tookMs} ms`);
      await second.client().apps.create({ body: { name: 'other' } });
      assert.match((await second.cli('events')).stdout, /two leads now; one did before/u);
    }));

  test('a machine that joined through one that stands by works, and stays when another one leads', () =>
    withPair(
      async ({ first, second }) => {
        const invited = await second.cli('nodes', 'invite', '--json', '--roles', 'agent');
        assert.equal(invited.code, 0, invited.stderr);
        const { token } = JSON.parse(invited.stdout) as { token: string }; // printed by our own command
        const url = (await second.client().system.status({})).controls.find(({ name }) => name === 'two')?.url ?? '';
        assert.match(url, /^https:/u);
        const machine = new Platform({ env: { LIBRA_NODE_NAME: 'three' } });
        try {
          const joined = await machine.cliWith({ input: token }, 'join', url, '--token', '-', '--detach', '--json');
          assert.equal(joined.code, 0, joined.stderr);
          await until('three Nodes are up', 20_000, () => nodesAreUp(second, 3));
          const app = {
            ...serverApp({ text: 'everywhere' }),
            'libra.yaml':
              'app: shop\nentrypoints: { web: { command: node server.mjs, instances: 3, placement: { strategy: fill, perNode: 1 } } }\n',
          };
          const deployed = await second.cli('deploy', writeApp(second, 'shop', app));
          assert.equal(deployed.code, 0, deployed.stdout + deployed.stderr);
          const params = { app: 'shop', environment: 'production' };
          const there = (await second.client().instances.list({ params })).items.find(({ node }) => node === 'three');
          assert.ok(there !== undefined);
          const ran = await second.cli('exec', '-a', 'shop', there.id, '--', 'echo', 'over there');
          assert.match(ran.stdout, /over there/u, ran.stderr);
          await first.kill();
          await until('the other one leads', 15_000, async () => (await leaderOf(second)) === 'two');
          await until('its agent is heard there', 15_000, async () => {
            const again = await second.cli('exec', '-a', 'shop', there.id, '--', 'echo', 'still');
            return again.stdout.includes('still');
          });
          await first.start();
        } finally {
          await machine.cli('down');
          await machine.dispose();
        }
      },
      { env: { LIBRA_API_TLS_HOST: '127.0.0.1', LIBRA_API_TLS_PORT: '0' } },
    ));

  test('a second one with another master key, or without one, is refused and leaves nothing behind', async () => {
    const cluster = await startTestCluster();
    const first = new Platform({ env: { LIBRA_STORE: cluster.url } });
    const second = new Platform({ env: { LIBRA_STORE: cluster.url, LIBRA_NODE_NAME: 'two' } });
    try {
      await first.start();
      const missing = await second.startFailing();
      assert.equal(missing.code, 1);
      assert.match(missing.stderr, /master\.key is missing\..*Copy master\.key from the data folder of a control plane/su);
      const other = new Platform();
      await other.start();
      await other.stop();
      copyFileSync(join(other.data, 'master.key'), join(second.data, 'master.key'));
      await other.dispose();
      const different = await second.startFailing();
      assert.match(different.stderr, /master\.key holds another master key/u);
      const { items } = await first.client().nodes.list({});
      assert.equal(items.length, 1);
      rmSync(join(second.data, 'master.key'));
    } finally {
      await first.dispose();
      await second.dispose();
      await cluster.stop();
    }
  });
});
