// The agent with real programs: keeper, process driver, bundles, users and sockets as in production; only control is played.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import type { DesiredInstance } from '../api/agent.ts';
import { createProcessDriver } from '../driver/process/driver.ts';
import type { ProcessDriver } from '../driver/process/driver.ts';
import { systemClock } from '../lib/clock.ts';
import { newId, systemRandom } from '../lib/id.ts';
import type { InstanceStatus } from '../model/documents.ts';
import { packFolder } from '../sys/bundle-pack.ts';
import { unpackBundle } from '../sys/bundle-unpack.ts';
import { startKeeperFixture, until } from '../sys/keeper-fixture.ts';
import { silentLog } from '../sys/log.ts';
import { createTokenVerifier } from '../tunnel/instance-token.ts';
import { makeAuthority } from '../../test/fixtures/certificate.ts';
import { lacking } from '../../test/requirements.ts';
import { createAgent } from './agent.ts';
import type { Agent } from './agent.ts';
import { createFakeControl } from './testing-agent.ts';
import type { FakeControl } from './testing-agent.ts';
import { createVolumeOwners, platformOf } from './volume-owners.ts';
import { desiredInstance, desiredOneOff } from './testing.ts';

const SERVER = `
const { createServer } = require('node:http');
const { readFileSync, writeFileSync } = require('node:fs');
writeFileSync('data/started', String(process.pid));
console.log('token ' + process.env.TOKEN);
createServer((q, r) => {
  if (q.url === '/key') return r.end(readFileSync(process.env.LIBRA_FILE_TLS_KEY, 'utf8') + readFileSync('etc/key', 'utf8'));
  if (q.url === '/token') return r.end(readFileSync(process.env.LIBRA_IDENTITY_FILE, 'utf8'));
  if (q.url === '/exit') process.exit(7);
  r.end(process.env.LIBRA_APP + ' ' + process.getuid());
}).listen(process.env.PORT, process.env.HOST);`;

const authority = makeAuthority();
const machine = authority.issueMachine(newId());

interface Rig {
  readonly control: FakeControl;
  readonly folder: string;
  agent(): Agent;
  status(id?: string): InstanceStatus | undefined;
  bundle(files: Readonly<Record<string, string>>): Promise<DesiredInstance['artifact']>;
  restart(): Promise<void>;
}

async function rig(context: TestContext): Promise<Rig> {
  const fixture = await startKeeperFixture();
  const control = createFakeControl(systemClock);
  const dataFolder = join(fixture.folder, 'node');
  await mkdir(dataFolder, { mode: 0o711 });
  const begin = (): { readonly driver: ProcessDriver; readonly agent: Agent } => {
    const driver = createProcessDriver({ keeper: fixture.client, dataFolder, nodeBinary: process.execPath });
    const agent = createAgent({
      link: control,
      drivers: { process: driver },
      dataFolder,
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      nodeName: 'node-1',
      program: '0.0.0',
      identity: () => machine,
      builtinPrograms: { static: [process.execPath, join(import.meta.dirname, 'static-server.ts')] },
    });
    return { driver, agent };
  };
  let current = begin();
  await current.agent.start();
  context.after(async () => {
    await current.agent.stop({ stopInstances: true });
    await current.driver.close();
    await fixture.close();
  });
  return {
    control,
    folder: dataFolder,
    agent: () => current.agent,
    status: (id = 'instance-1') => current.agent.statuses().find((each) => each.id === id),
    bundle: async (files) => {
      const source = await mkdtemp(join(tmpdir(), 'libra-source-'));
      for (const [name, text] of Object.entries(files)) {
        await mkdir(dirname(join(source, name)), { recursive: true });
        await writeFile(join(source, name), text);
      }
      const packed = await packFolder(source);
      control.blobs.set(packed.digest, await readFile(packed.path));
      await packed.remove();
      await rm(source, { recursive: true });
      return { kind: 'bundle', digest: packed.digest, sizeBytes: packed.sizeBytes };
    },
    restart: async () => {
      await current.agent.stop({ stopInstances: false });
      await current.driver.close();
      current = begin();
      await current.agent.start();
    },
  };
}

const ask = async (status: InstanceStatus | undefined, path: string): Promise<string> => {
  const { host, port } = status?.address ?? { host: '', port: 0 };
  return (await fetch(`http://${host}:${port}${path}`)).text();
};

test('a bundle runs as a service with volume, secret file and own user, through a crash and a restart of the agent', async (context) => {
  const { control, folder, status, bundle, restart } = await rig(context);
  const web = desiredInstance({
    driver: 'process',
    artifact: await bundle({ 'server.js': SERVER, 'data/.keep': '' }),
    commands: [['node', 'server.js']],
    env: { TOKEN: 'hunter2222' },
    secretEnv: ['TOKEN'],
    volumes: [{ name: 'kept', path: '/kept', sizeBytes: 1024 * 1024 }],
    files: [{ path: '/etc/key', mode: 0o400, contentBase64: Buffer.from('key!').toString('base64'), secret: 'tls-key' }],
    health: { probe: { kind: 'http', path: '/' }, intervalMs: 1000, timeoutMs: 1000, healthy: 1, unhealthy: 3, graceMs: 30_000 },
  });
  control.snapshot(web);
  await until('it is healthy', () => status()?.healthy);
  const [app, uid] = (await ask(status(), '/')).split(' ');
  assert.equal(app, 'shop');
  if (process.getuid?.() === 0) assert.notEqual(uid, '0');
  const owners = createVolumeOwners(join(folder, 'volumes'), () => platformOf(authority.certificatePem));
  assert.equal(await owners.of('environment-1'), 'own');
  assert.equal(await ask(status(), '/key'), 'key!key!');

  const pid = status()?.pid;
  await restart();
  assert.equal(status()?.healthy, true);
  assert.equal(status()?.pid, pid);
  await until('the snapshot was taken', () => control.connections === 2);

  await ask(status(), '/exit').catch(() => undefined);
  await until('it backs off', () => status()?.phase === 'backoff');
  assert.equal(status()?.exit?.code, 7);
  assert.deepEqual(status()?.reason?.lastLines, ['token ***']);
  await until('it is healthy again', () => status()?.healthy);
  assert.equal(status()?.restarts, 1);

  control.delta([{ ...web, generation: 2, desired: 'stop' }]);
  await until('it is stopped', () => control.told.get('instance-1')?.phase === 'stopped');
  await until('its work folder is gone', () => !existsSync(join(folder, 'instances/instance-1/work')));
  control.delta([], ['instance-1']);
  await until('it is forgotten', () => !existsSync(join(folder, 'instances/instance-1')));
});

test('a program reads its token as its own user, also the next one; another user and another App do not', async (context) => {
  const { agent, control, status, bundle } = await rig(context);
  const artifact = await bundle({ 'server.js': SERVER, 'data/.keep': '' });
  const web = { driver: 'process', artifact, commands: [['node', 'server.js']] };
  control.snapshot(desiredInstance(web), desiredInstance({ ...web, id: 'other', app: { id: 'app-2', name: 'bank' } }));
  await until('both are healthy', () => status()?.healthy === true && status('other')?.healthy === true);
  const verifier = createTokenVerifier({ authorityPem: () => authority.certificatePem, clock: systemClock });
  const token = await ask(status(), '/token');
  const verified = verifier.verify(token);
  assert.ok(verified.ok);
  assert.deepEqual([verified.claims.instanceId, verified.claims.app, verified.nodeId], ['instance-1', 'shop', machine.nodeId]);

  agent().renewIdentity();
  const next = await until('it was replaced', async () => {
    const now = await ask(status(), '/token');
    return now === token ? null : now;
  });
  assert.ok(verifier.verify(next).ok);

  const pid = status()?.pid ?? 0;
  const file = /LIBRA_IDENTITY_FILE=([^\0]+)/u.exec(readFileSync(`/proc/${pid}/environ`, 'utf8'))?.[1] ?? '';
  assert.equal(readFileSync(file, 'utf8'), next);
  assert.doesNotMatch(readFileSync(`/proc/${pid}/environ`, 'utf8'), new RegExp(next.slice(-40), 'u'), 'only where it is stands there');
  if (process.getuid?.() !== 0) return;
  const [, uid] = (await ask(status('other'), '/')).split(' ');
  for (const user of [Number(uid), 65_534]) {
    const read = spawnSync('/bin/cat', [file], { uid: user, gid: user, encoding: 'utf8' });
    assert.deepEqual([read.stdout, /Permission denied/u.test(read.stderr)], ['', true], `as user ${user}`);
  }
});

test('what a volume holds outlives its Instance', async (context) => {
  const { control, folder, status, bundle } = await rig(context);
  const artifact = await bundle({ 'server.js': SERVER });
  const volumes = [{ name: 'data', path: '/data', sizeBytes: 2 ** 30 }];
  const files = [{ path: '/etc/key', mode: 0o400, contentBase64: '', secret: 'tls-key' }];
  for (const id of ['instance-1', 'instance-2']) {
    control.snapshot(desiredInstance({ id, driver: 'process', artifact, commands: [['node', 'server.js']], volumes, files }));
    await until(`${id} is healthy`, () => status(id)?.healthy);
    const kept = join(folder, 'volumes/environment-1/web/0/data/started');
    assert.equal(await readFile(kept, 'utf8'), String(status(id)?.pid));
  }
});

test('a build runs its commands in order and its packed result comes back as a blob', async (context) => {
  const { control, folder, status, bundle } = await rig(context);
  const artifact = await bundle({ 'a.txt': 'a' });
  const script = (code: string): readonly string[] => ['node', '-e', code];
  control.snapshot(
    desiredOneOff({
      role: 'build',
      driver: 'process',
      artifact,
      commands: [
        script(`require('fs').mkdirSync('node_modules/x', { recursive: true })`),
        script(`require('fs').writeFileSync('node_modules/x/index.js', require('fs').readFileSync('a.txt') + 'built')`),
      ],
      packResult: true,
    }),
  );
  await until('it succeeded', () => status()?.phase === 'succeeded');
  const output = status()?.output;
  const blob = control.blobs.get(output?.digest ?? '');
  assert.equal(blob?.length, output?.sizeBytes);
  const target = join(folder, 'unpacked');
  await unpackBundle(
    (async function* bytes() {
      yield blob ?? Buffer.alloc(0);
    })(),
    target,
  );
  assert.equal(await readFile(join(target, 'node_modules/x/index.js'), 'utf8'), 'abuilt');
});

test('the static server runs as an Instance', { skip: lacking('readable') }, async (context) => {
  const { control, status, bundle } = await rig(context);
  const artifact = await bundle({ 'dist/index.html': '<h1>static</h1>' });
  control.snapshot(desiredInstance({ driver: 'process', artifact, commands: [['libra:static', 'dist']] }));
  await until('it is healthy', () => status()?.healthy);
  assert.equal(await ask(status(), '/'), '<h1>static</h1>');
});

test('a program on the wrong port, a missing command and a hostile bundle are told as what they are', async (context) => {
  const { control, status, bundle } = await rig(context);
  const artifact = await bundle({ 'server.js': `require('node:http').createServer().listen(0, '127.0.0.1')` });
  const digest = `sha256:${'0'.repeat(64)}`;
  control.blobs.set(digest, Buffer.from('not that digest'));
  control.snapshot(
    desiredInstance({ id: 'astray', driver: 'process', artifact, commands: [['node', 'server.js']] }),
    desiredInstance({ id: 'missing', driver: 'process', artifact, commands: [['nodee', 'server.js']] }),
    desiredInstance({ id: 'damaged', driver: 'process', artifact: { kind: 'bundle', digest, sizeBytes: 1 } }),
  );
  await until('the wrong port is told', () => status('astray')?.reason?.code === 'wrong_port');
  assert.equal(status('astray')?.phase, 'starting');
  await until('the missing command is told', () => status('missing')?.reason?.code === 'command_not_found');
  await until('the damaged bundle is told', () => /damaged/u.test(status('damaged')?.reason?.message ?? ''));
  assert.equal(status('damaged')?.healthy, false);
});

test('a program that never listens is not healthy because a stranger answers on its port', async (context) => {
  const { control, folder, status, bundle } = await rig(context);
  control.snapshot(
    desiredInstance({
      driver: 'process',
      artifact: await bundle({ 'idle.js': 'setInterval(() => {}, 1000)' }),
      commands: [['node', 'idle.js']],
      health: { probe: { kind: 'tcp' }, intervalMs: 200, timeoutMs: 1000, healthy: 1, unhealthy: 3, graceMs: 0 },
    }),
  );
  let port = 0;
  await until('it has a port', () => {
    const kept: unknown = existsSync(join(folder, 'ports.json')) ? JSON.parse(readFileSync(join(folder, 'ports.json'), 'utf8')) : {};
    port = Number(Object.values(kept ?? {})[0] ?? 0);
    return port > 0;
  });
  const stranger = createServer((socket) => socket.destroy());
  await until('it runs', () => status()?.pid);
  await new Promise<void>((resolve) => stranger.listen(port, '127.0.0.1', resolve));
  context.after(() => stranger.close());
  await until('the cause is told', () => status()?.reason?.code === 'port_taken');
  assert.equal(status()?.healthy, false);
});
