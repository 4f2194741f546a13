import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { makeAuthority } from '../../test/fixtures/certificate.ts';
import { lacking } from '../../test/requirements.ts';
import { systemClock } from '../lib/clock.ts';
import { defineCollection } from './collection.ts';
import { storeContract } from './contract-suite.ts';
import { put, rejectsWith, take, write } from './contract-support.ts';
import { startTestCluster } from './etcd-fixture.ts';
import type { TestCluster } from './etcd-fixture.ts';
import { createEtcdClient } from './etcd-client.ts';
import { openEtcdStore } from './etcd.ts';
import { method, nameAndPassword, nothing } from './etcd-messages.ts';
import { compareKeys } from './key-order.ts';
import { shape, text } from './protobuf.ts';
import type { Store } from './store.ts';
import { createView } from './view.ts';

describe('on etcd', { skip: lacking('etcd') }, () => {
  let etcd: TestCluster;
  let platforms = 0;
  before(async () => {
    etcd = await startTestCluster();
  });
  after(() => etcd.stop());
  const open = (prefix: string, keepRevisions?: number): Promise<Store> =>
    openEtcdStore({ client: createEtcdClient(etcd.endpoints), prefix, keepRevisions });
  const fresh = (): string => `libra-${(platforms += 1)}`;

  storeContract(
    'etcd',
    async ({ keepRevisions }) => {
      const prefix = fresh();
      let store = await open(prefix, keepRevisions);
      return {
        store,
        close: () => store.close(),
        reopen: async () => {
          await store.close();
          store = await open(prefix, keepRevisions);
          return store;
        },
      };
    },
    { durable: true, remote: true },
  );

  it(
    'gives a view that starts all there is, while others write to the cluster and the platform does not',
    { timeout: 20_000 },
    async () => {
      const store = await open(fresh());
      const others = await open(fresh());
      const records = ['one', 'two'].map((name) => defineCollection<{ readonly id: string }>({ name }));
      // Between two reads the cluster is at another revision, of which this platform's history knows nothing.
      const disturbed: Store = {
        ...store,
        list: async (options) => {
          const page = await store.list(options);
          await write(others, put('a'));
          return page;
        },
      };
      const { view, start, stop } = createView({ store: disturbed, collections: records, clock: systemClock });
      await start();
      assert.ok(view.revision > 0);
      await stop();
      await Promise.all([store.close(), others.close()]);
    },
  );

  describe('leases, in real time', { timeout: 60_000 }, () => {
    it('take their keys with them in one revision that watchers see, unless they are kept alive', async () => {
      const store = await open(fresh());
      const [lost, kept] = await Promise.all([store.lease({ ttlMs: 2_000 }), store.lease({ ttlMs: 2_000 })]);
      await write(store, put('a', '1', lost.id), put('b', '1', lost.id), put('c', '1', kept.id), put('free'));
      assert.equal((await store.get('a'))?.leaseId, lost.id);
      let over = false;
      const batches = take(store, 2, 1).finally(() => (over = true));
      while (!over) {
        await kept.keepAlive();
        await systemClock.sleep(200);
      }
      const [batch] = await batches;
      assert.deepEqual(batch?.changes.map((change) => (change.kind === 'delete' ? change.key : 'put')).sort(compareKeys), ['a', 'b']);
      assert.deepEqual(
        (await store.list({ prefix: '' })).entries.map(({ key }) => key),
        ['c', 'free'],
      );
      await rejectsWith(lost.keepAlive(), 'not_found');
      await store.close();
    });

    it('end at once when revoked, let go of keys that are written without them, and refuse what they do not know', async () => {
      const store = await open(fresh());
      const [one, other] = await Promise.all([store.lease({ ttlMs: 60_000 }), store.lease({ ttlMs: 60_000 })]);
      await write(store, put('freed', '1', one.id), put('moved', '1', one.id), put('kept', '1', one.id));
      await write(store, put('freed'), put('moved', '2', other.id));
      const leftMs = (await store.leaseLeftMs(one.id)) ?? 0;
      assert.ok(leftMs > 50_000 && leftMs <= 60_000, String(leftMs));
      await one.revoke();
      await one.revoke();
      for (const id of [one.id, 'no-such-lease']) assert.equal(await store.leaseLeftMs(id), undefined);
      assert.deepEqual(
        (await store.list({ prefix: '' })).entries.map(({ key, leaseId }) => [key, leaseId]),
        [
          ['freed', null],
          ['moved', other.id],
        ],
      );
      for (const id of [one.id, 'no-such-lease', '9223372036854775807'])
        await rejectsWith(write(store, put('x'), put('y', '1', id)), 'not_found');
      assert.equal(await store.get('x'), undefined);
      await rejectsWith(one.keepAlive(), 'not_found');
      for (const ttlMs of [999, 0, -1, Number.NaN, 1500.5]) await rejectsWith(store.lease({ ttlMs }), 'invalid_input');
      await store.close();
    });
  });

  it('two platforms in one cluster see nothing of each other', async () => {
    const [one, other] = await Promise.all([open('one'), open('one-more')]);
    await write(one, put('a', '1'));
    await write(other, put('a', '2'), put('b'));
    assert.equal((await one.get('a'))?.value, '1');
    assert.deepEqual((await one.list({ prefix: '' })).entries.length, 1);
    const again = await open('one');
    await write(again, put('a', '3'));
    const batches = await take(one, 1, 2);
    assert.deepEqual(
      batches.map(({ changes }) => changes.length),
      [1, 1],
    );
    for (const store of [one, other, again]) await store.close();
  });

  it('a cluster that is away is said to be, and nothing waits for ever', async () => {
    const client = createEtcdClient(['http://127.0.0.1:1', 'http://127.0.0.1:2']);
    await rejectsWith(openEtcdStore({ client, prefix: 'x' }), 'unavailable');
    // The first one is dead, the second one answers.
    const store = await openEtcdStore({ client: createEtcdClient(['http://127.0.0.1:1', ...etcd.endpoints]), prefix: fresh() });
    assert.equal((await write(store, put('a'))).committed, true);
    assert.equal((await take(store, 1, 1)).length, 1);
    await store.close();
  });

  it('TLS with a certificate of the client, and a login', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'libra-etcd-tls-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const at = (name: string): string => join(folder, name);
    const subject = ['-subj', '/CN=etcd', '-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'extendedKeyUsage=serverAuth'];
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', at('server.key'), '-out', at('server.pem')];
    execFileSync('openssl', ['req', '-x509', '-days', '2', ...key, ...subject], { stdio: 'ignore' });
    const ca = readFileSync(at('server.pem'), 'utf8');
    const authority = makeAuthority();
    writeFileSync(at('ca.pem'), ca + authority.certificatePem);
    const tls = { ca, ...authority.issueClient('platform') };
    const cluster = await startTestCluster({
      tlsWords: ['--cert-file', at('server.pem'), '--key-file', at('server.key'), '--trusted-ca-file', at('ca.pem'), '--client-cert-auth'],
      client: { tls },
    });
    t.after(() => cluster.stop());
    const root = createEtcdClient(cluster.endpoints, { tls });
    const once = { repeatable: false };
    await root.call(method('etcdserverpb.Auth/UserAdd', nameAndPassword, nothing), { name: 'root', password: 'secret' }, once);
    await root.call(method('etcdserverpb.Auth/RoleAdd', shape({ name: text(1) }), nothing), { name: 'root' }, once);
    const toUser = shape({ user: text(1), role: text(2) });
    await root.call(method('etcdserverpb.Auth/UserGrantRole', toUser, nothing), { user: 'root', role: 'root' }, once);
    await root.call(method('etcdserverpb.Auth/AuthEnable', nothing, nothing), {}, once);
    root.close();
    const login = { name: 'root', password: 'secret' };
    const store = await openEtcdStore({ client: createEtcdClient(cluster.endpoints, { tls, login }), prefix: 'x' });
    assert.equal((await write(store, put('a'))).committed, true);
    assert.equal((await take(store, 1, 1)).length, 1);
    await store.close();
    const without = [{ tls: { ca: tls.ca }, login }, { login }, { tls, login: { ...login, password: 'wrong' } }, { tls }];
    for (const options of without) {
      const client = createEtcdClient(cluster.endpoints, options);
      await assert.rejects(openEtcdStore({ client, prefix: 'x' }));
      client.close();
    }
  });
});
