// Two machines that are one platform: the second joins with an invitation and runs Instances and an Edge, over TLS and outbound only.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createServer } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { writeApp } from '../fixtures/app-folder.ts';
import { makeAuthority } from '../fixtures/certificate.ts';
import { Platform, until, withPlatform } from '../platform.ts';

const reachable = { env: { LIBRA_API_TLS_HOST: '127.0.0.1', LIBRA_API_TLS_PORT: '0', LIBRA_NODE_NAME: 'first' } };

interface Invited {
  readonly url: string;
  readonly token: string;
}

async function invite(platform: Platform, ...words: readonly string[]): Promise<Invited> {
  const result = await platform.cli('nodes', 'invite', '--json', ...words);
  assert.equal(result.code, 0, result.stderr);
  return JSON.parse(result.stdout) as Invited; // printed by our own command
}

/** Another machine with a data folder of its own. */
async function withMachine(name: string, body: (machine: Platform) => Promise<void>): Promise<void> {
  const machine = new Platform({ env: { LIBRA_NODE_NAME: name } });
  try {
    await body(machine);
  } finally {
    await machine.cli('down');
    await machine.dispose();
  }
}

const stateOf = async (platform: Platform, name: string): Promise<string | undefined> =>
  (await platform.client().nodes.list({})).items.find((node) => node.name === name)?.state;

const server = `import http from 'node:http';
http.createServer((request, response) => response.end(process.env.LIBRA_NODE)).listen(process.env.PORT, process.env.HOST);
`;

const manifest = `app: two
entrypoints:
  web:
    command: node server.mjs
    instances: 2
    placement: { strategy: fill, perNode: 1 }
`;

test('a machine joins, runs Instances and an Edge, is killed and comes back, and goes', () =>
  withPlatform(async (platform) => {
    await withMachine('second', async (machine) => {
      const { url, token } = await invite(platform, '--roles', 'agent,edge', '--labels', 'disk=ssd');
      const joined = await machine.cliWith({ input: token }, 'join', url, '--token', '-', '--detach', '--json');
      assert.equal(joined.code, 0, joined.stderr);
      assert.doesNotMatch(joined.stdout + joined.stderr, new RegExp(token, 'u'));
      await until('the Node is up', 10_000, async () => (await stateOf(platform, 'second')) === 'up');
      const [node] = (await platform.client().nodes.list({})).items.filter(({ name }) => name === 'second');
      assert.deepEqual([node?.roles, node?.labels], [['agent', 'edge'], { disk: 'ssd' }]);
      for (const file of ['identity.json', 'membership.json']) assert.equal(statSync(join(machine.data, file)).mode & 0o777, 0o600);

      const app = writeApp(platform, 'two', { 'server.mjs': server, 'libra.yaml': manifest });
      const deployed = await platform.cli('deploy', app);
      assert.equal(deployed.code, 0, deployed.stderr);
      const instances = async () =>
        (await platform.client().instances.list({ params: { app: 'two', environment: 'production' }, query: { all: false } })).items;
      assert.deepEqual((await instances()).map((each) => each.node).sort(), ['first', 'second']);
      const there = (await instances()).find((each) => each.node === 'second');
      assert.ok(there !== undefined);
      const pids = machine.processes().map(({ pid }) => pid);
      assert.ok(there.pid !== null && pids.includes(there.pid), 'it is a program of the second machine');

      // What reaches into an Instance goes the same way.
      const ran = await platform.cli('exec', '-a', 'two', there.id, '--', 'cat', '/proc/self/environ');
      assert.match(ran.stdout, /LIBRA_NODE=second/u, ran.stderr);
      assert.equal((await platform.cli('logs', '-a', 'two')).code, 0);
      // Its token is signed there, and known here by the certificate that the machine came with.
      const { stdout: identity } = await platform.cli('exec', '-a', 'two', there.id, '--', 'sh', '-c', 'cat $LIBRA_IDENTITY_FILE');
      const known = await fetch(`${platform.addresses.api}/v1/apps`, { headers: { authorization: `Bearer ${identity}` } });
      assert.equal(known.status, 403, await known.text());
      // Each Edge has the same table, and reaches both: what runs on the other machine by its data port.
      machine.readAddresses();
      for (const edge of [platform, machine]) {
        const served = new Set<string>();
        await until('both serve', 10_000, async () => {
          const reply = await edge.get('two.localhost');
          assert.equal(reply.status, 200, reply.body);
          return served.add(reply.body).size === 2;
        });
        assert.deepEqual([...served].sort(), ['first', 'second']);
      }

      const told = await machine.cli('apps');
      assert.equal(told.code, 4);
      assert.match(told.stderr, /Node second of the platform at https:/u);

      const killed = machine.readAddresses().pid;
      process.kill(killed, 'SIGKILL');
      await until('the keeper has started it again', 20_000, async () => {
        const running = await machine.cli('doctor', '--json');
        return running.code !== 6 && machine.readAddresses().pid !== killed && (await stateOf(platform, 'second')) === 'up';
      });
      assert.equal((await instances()).find((each) => each.node === 'second')?.pid, there.pid, 'its program lived on');

      const refused = await platform.cli('nodes', 'remove', 'second');
      assert.equal(refused.code, 5);
      assert.match(refused.stderr, /nodes drain second/u);
      assert.equal((await platform.cli('nodes', 'remove', 'second', '--force', '--yes')).code, 0);
      await until('the machine is told that it is nobody', 20_000, () =>
        /was removed, or never joined/u.test(readFileSync(join(machine.data, 'logs/librad.log'), 'utf8')),
      );
      await until('and stops what it ran', 20_000, () => !machine.processes().some(({ pid }) => pid === there.pid));
      assert.equal((await platform.client().nodes.list({})).items.length, 1);
      const nobody = await fetch(`${platform.addresses.api}/v1/apps`, { headers: { authorization: `Bearer ${identity}` } });
      assert.deepEqual([nobody.status, /Node|gone|ended|stopped/u.test(await nobody.text())], [401, true]);

      // It starts all the same, so that it stops what it ran, and says how it is; then it may come anew.
      const anew = await invite(platform);
      const whileItRuns = await machine.cli('join', anew.url, '--token', anew.token, '--detach');
      assert.equal(whileItRuns.code, 5);
      assert.match(whileItRuns.stderr, /libra down/u);
      assert.equal((await machine.cli('down')).code, 0);
      const warned = await machine.cli('up', '--detach');
      assert.match(warned.stderr, /no Node of https:\S+ any more/u);
      assert.equal((await machine.cli('down')).code, 0);
      assert.equal((await machine.cli('join', anew.url, '--token', anew.token, '--detach')).code, 0);
      await until('it is a Node again', 10_000, async () => (await stateOf(platform, 'second')) === 'up');
    });
  }, reachable));

test('an invitation is good for one machine, and none without an address to come to', () =>
  withPlatform(async (platform) => {
    const ask = { body: { roles: ['agent' as const], runtime: 'default', labels: {}, expiresInMs: 60_000 }, idempotencyKey: 'once' };
    const { token: first } = await platform.client().invitations.create(ask);
    await assert.rejects(platform.client().invitations.create(ask), /told only once/u);
    for (const name of readdirSync(platform.data).filter((file) => file.startsWith('store.db')))
      assert.ok(!readFileSync(join(platform.data, name)).includes(first.slice(0, 40)), `${name} has no token in it`);
    const control = await platform.cli('nodes', 'invite', '--roles', 'control');
    assert.notEqual(control.code, 0);
    assert.match(control.stderr, /file of this machine.*libra store migrate/su);
    const { url, token } = await invite(platform);
    await withMachine('second', async (machine) => {
      assert.equal((await machine.cli('join', url, '--token', token, '--detach')).code, 0);
      const again = await machine.cli('join', url, '--token', token, '--detach');
      assert.equal(again.code, 0, 'a member stays one');
      assert.match(again.stderr, /already/u);
    });
    await withMachine('third', async (machine) => {
      const late = await machine.cli('join', url, '--token', token, '--detach');
      assert.equal(late.code, 4);
      assert.match(late.stderr, /used by another machine/u);
    });
    const own = await platform.cli('join', url, '--token', (await invite(platform)).token);
    assert.equal(own.code, 5);
    assert.match(own.stderr, /holds a platform of its own/u);
  }, reachable));

test('a platform on loopback only says so instead of inviting', () =>
  withPlatform(async (platform) => {
    const result = await platform.cli('nodes', 'invite');
    assert.equal(result.code, 1);
    assert.match(result.stderr, /--api-tls-host/u);
  }));

test('the token is given to nobody but the platform that it is of', async () => {
  const other = makeAuthority();
  const { chainPem, keyPem } = other.issue('control.libra.internal');
  let received = 0;
  const server = createServer({ cert: chainPem + other.certificatePem, key: keyPem }, (socket: TLSSocket) => {
    socket.on('data', (chunk: Buffer) => (received += chunk.length));
    socket.on('error', () => undefined);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  try {
    await withMachine('second', async (machine) => {
      const token = `libra_join_${'1'.repeat(64)}_${'2'.repeat(64)}`;
      const result = await machine.cli('join', `https://127.0.0.1:${address.port}`, '--token', token, '--detach');
      assert.equal(result.code, 4);
      assert.match(result.stderr, /not the platform that the token is of/u);
      assert.equal(received, 0);
      for (const wrong of [`http://127.0.0.1:${address.port}`, 'https://', 'ftp://x', 'https://a:b@c/'])
        assert.equal((await machine.cli('join', wrong, '--token', token)).code, 2, wrong);
      assert.equal((await machine.cli('join', `https://127.0.0.1:${address.port}`, '--token', 'x')).code, 2);
    });
  } finally {
    server.close();
  }
});

test('a command line elsewhere is told what keeps it from the platform, and how to go on', () =>
  withPlatform(async (platform) => {
    const { url } = await invite(platform);
    const env = { LIBRA_URL: url, LIBRA_TOKEN: platform.token() };
    const untrusted = await platform.cliWith({ env }, 'apps');
    assert.equal(untrusted.code, 6);
    assert.match(untrusted.stderr, /certificate that is not trusted here/u);
    const file = join(platform.data, 'machines.pem');
    writeFileSync(file, (await platform.cli('nodes', 'ca')).stdout);
    assert.equal((await platform.cliWith({ env: { ...env, NODE_EXTRA_CA_CERTS: file } }, 'apps')).code, 0);
  }, reachable));

test('a machine whose membership is damaged begins no platform of its own', () =>
  withMachine('second', async (machine) => {
    writeFileSync(join(machine.data, 'membership.json'), '{');
    const before = readdirSync(machine.data);
    for (const words of [['up'], ['join', 'https://127.0.0.1:1', '--token', `libra_join_${'1'.repeat(64)}_${'2'.repeat(64)}`]]) {
      const refused = await machine.cli(...words);
      assert.notEqual(refused.code, 0);
      assert.match(refused.stderr, /membership\.json, which is damaged.*libra nodes invite/su);
    }
    const made = readdirSync(machine.data).filter((name) => !before.includes(name));
    assert.deepEqual(
      made.filter((name) => /master\.key|store\.db|owner\.token|identity/u.test(name)),
      [],
    );
  }));
