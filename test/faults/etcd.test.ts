// A store of three members, of which any one may die at any moment: nothing acknowledged is lost, and the platform above goes on.

import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { isFailure } from '../../src/lib/failure.ts';
import { startTestCluster } from '../../src/store/etcd-fixture.ts';
import type { TestCluster } from '../../src/store/etcd-fixture.ts';
import { createEtcdClient } from '../../src/store/etcd-client.ts';
import { openEtcdStore } from '../../src/store/etcd.ts';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { isFull } from '../full-size.ts';
import { Platform, until, withPlatform } from '../platform.ts';
import { lacking } from '../requirements.ts';

async function withCluster(body: (cluster: TestCluster) => Promise<void>): Promise<void> {
  const cluster = await startTestCluster({ members: 3 });
  try {
    await body(cluster);
  } finally {
    await cluster.stop();
  }
}

describe('etcd', { skip: lacking('etcd') }, () => {
  test('members are killed and stopped one after the other under writes: what was acknowledged is there, once, and watchers miss nothing', (t) =>
    withCluster(async (cluster) => {
      const open = () => openEtcdStore({ client: createEtcdClient(cluster.endpoints), prefix: 'x' });
      const store = await open();
      let over = false;
      const acknowledged = new Set<string>();
      let failed = 0;
      const writer = async (lane: number): Promise<void> => {
        for (let count = 0; !over; count += 1) {
          const key = `${lane}/${count}`;
          try {
            await store.commit({ compare: [{ key, revision: 0 }], writes: [{ kind: 'put', key, value: key }] });
            acknowledged.add(key);
          } catch {
            failed += 1;
          }
        }
      };
      const seen = new Set<string>();
      const watching = new AbortController();
      const follow = async (): Promise<void> => {
        for (let next = 1; !watching.signal.aborted;) {
          try {
            for await (const batch of store.watch({ prefix: '', fromRevision: next, signal: watching.signal })) {
              for (const change of batch.changes) if (change.kind === 'put') seen.add(change.entry.key);
              next = batch.revision + 1;
            }
          } catch {
            // Its member is gone: on with another one.
          }
        }
      };
      const following = follow();
      const writing = Promise.all([0, 1, 2, 3].map(writer));
      const progress = async (what: string): Promise<void> => {
        const before = acknowledged.size;
        await until(what, 20_000, () => acknowledged.size > before + 50);
      };
      for (let member = 0; member < 3; member += 1) {
        await progress('writes go on');
        await cluster.signal(member, 'SIGKILL');
        await progress(`writes go on without member ${member}`);
        cluster.start(member);
        await progress(`writes go on while member ${member} comes back`);
        await cluster.signal(member, 'SIGSTOP');
        await progress(`writes go on while member ${member} is stuck`);
        await cluster.signal(member, 'SIGCONT');
      }
      over = true;
      await writing;
      const after = await open();
      const there = new Set<string>();
      for (let last: string | undefined; ;) {
        const page = await after.list({ prefix: '', after: last });
        for (const entry of page.entries) there.add(entry.key);
        last = page.entries.at(-1)?.key;
        if (!page.more) break;
      }
      for (const key of acknowledged) assert.ok(there.has(key), `${key} was acknowledged`);
      await until('the watcher has seen all', 20_000, () => [...there].every((key) => seen.has(key)));
      t.diagnostic(`${acknowledged.size} acknowledged, ${failed} failed, ${there.size} there`);
      watching.abort();
      await following;
      await store.close();
      await after.close();
    }));

  test('a platform on it deploys while a member is away or hangs, and survives a kill -9', () =>
    withCluster(async (cluster) => {
      await withPlatform(
        async (platform) => {
          const deploy = async (text: string): Promise<void> => {
            const deployed = await platform.cli('deploy', writeApp(platform, 'shop', serverApp({ text })));
            assert.equal(deployed.code, 0, deployed.stdout + deployed.stderr);
            assert.equal((await platform.get('shop.localhost', '/')).body, text);
          };
          await deploy('one');
          assert.equal((await platform.client().system.status({})).store.engine, 'etcd');
          for (const member of isFull ? [0, 1, 2] : [0]) {
            await cluster.signal(member, 'SIGKILL');
            await deploy(`without member ${member}`);
            cluster.start(member);
          }
          const { pid } = platform;
          for (const member of isFull ? [0, 1, 2] : [2]) {
            await cluster.signal(member, 'SIGSTOP');
            await deploy(`while member ${member} hangs`);
            await cluster.signal(member, 'SIGCONT');
          }
          assert.equal(platform.pid, pid);
          await platform.kill();
          assert.equal((await platform.get('shop.localhost', '/')).body, 'while member 2 hangs', 'it serves on');
          const startedMs = performance.now();
          await platform.start();
          assert.ok(performance.now() - startedMs < 5_000, 'a restart of the same machine waits for no lease');
          await deploy('two');
          await cluster.signal(0, 'SIGSTOP');
          // A watch, and calls, that got stuck there.
          await platform.cli('apps', 'create', 'other');
          let stopped = false;
          void platform.stop().finally(() => (stopped = true));
          await until('librad ends although a member hangs', 30_000, () => stopped);
          await cluster.signal(0, 'SIGCONT');
        },
        { env: { LIBRA_STORE: cluster.url } },
      );
    }));

  test('a platform that loses its cluster serves on and says so, refuses changes, and goes on by itself when the cluster is back', () =>
    withCluster(async (cluster) => {
      await withPlatform(
        async (platform) => {
          const { pid } = platform.addresses;
          const deploy = async (text: string): Promise<void> => {
            const deployed = await platform.cli('deploy', writeApp(platform, 'shop', serverApp({ text })));
            assert.equal(deployed.code, 0, deployed.stdout + deployed.stderr);
          };
          await deploy('one');
          for (let member = 0; member < 3; member += 1) await cluster.signal(member, 'SIGKILL');
          const refused = assert.rejects(platform.client().apps.create({ body: { name: 'other' } }), (error) =>
            isFailure(error, 'unavailable'),
          );
          await until('librad says it', 30_000, async () =>
            (await platform.client().system.status({})).warnings.some((warning) => warning.startsWith('No control plane leads')),
          );
          for (let request = 0; request < 100; request += 1)
            assert.equal((await platform.get('shop.localhost', '/')).body, 'one', 'the Edge and the Instance go on');
          assert.equal((await platform.client().apps.list({})).items.length, 1, 'what it knows can be read');
          await refused;
          for (let member = 0; member < 3; member += 1) cluster.start(member);
          await until('it leads again', 30_000, async () =>
            (await platform.client().system.status({})).controls.some(({ leads }) => leads),
          );
          assert.equal(platform.addresses.pid, pid);
          await deploy('two');
          assert.equal((await platform.get('shop.localhost', '/')).body, 'two');
        },
        { env: { LIBRA_STORE: cluster.url } },
      );
    }));

  test('a platform moves to it and back with all that it knows, and not while it runs', () =>
    withCluster(async (cluster) => {
      await withPlatform(async (file) => {
        await file.cli('deploy', writeApp(file, 'shop', serverApp({ text: 'one' })));
        await file.cli('env', 'set', 'KEY=value', '--app', 'shop');
        const history = async (platform: Platform): Promise<string> =>
          (await platform.cli('deployments', '--app', 'shop', '--json')).stdout.replaceAll(/localhost:\d+/gu, 'localhost');
        const before = await history(file);
        const busy = await file.cli('store', 'migrate', cluster.url);
        assert.match(busy.stderr, /runs on|in use|already/iu);
        await file.stop();
        const moved = await file.cli('store', 'migrate', cluster.url);
        assert.equal(moved.code, 0, moved.stderr);
        assert.match(moved.stdout, /Copied \d+ records; each was compared/u);
        assert.match((await file.cli('store', 'migrate', cluster.url)).stderr, /is not empty/u);

        const there = new Platform({ data: file.data, env: { LIBRA_STORE: cluster.url } });
        try {
          await there.start();
          await until('its Instance is back', 20_000, async () => (await there.get('shop.localhost', '/')).body === 'one');
          assert.equal(await history(there), before);
          assert.equal((await there.cli('deploy', writeApp(there, 'shop', serverApp({ text: 'two' })))).code, 0);
        } finally {
          await there.stop();
        }

        rmSync(join(file.data, 'store.db'));
        for (const rest of ['store.db-wal', 'store.db-shm']) rmSync(join(file.data, rest), { force: true });
        const back = await file.cli('store', 'migrate', 'sqlite', '--from', cluster.url);
        assert.equal(back.code, 0, back.stderr);
        await file.start();
        await until('its Instance is back', 20_000, async () => (await file.get('shop.localhost', '/')).body === 'two');
        assert.equal((await file.client().system.status({})).store.engine, 'sqlite');
      });
    }));
});
