// The keeper as a process of its own, with clients that die, lie and flood it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { connectKeeper, ensureKeeper, keeperSocketPath } from '../sys/keeper-client.ts';
import { keeperArgv, runModule, startKeeperFixture, temporaryFolder, until } from '../sys/keeper-fixture.ts';
import type { KeeperFixture } from '../sys/keeper-fixture.ts';
import type { KeeperEvent, ProcessRecord, SpawnRequest } from '../sys/keeper-protocol.ts';
import { describeListener } from '../sys/listeners.ts';
import { isIdentityAlive, pidsWithEnvironEntry, readIdentity } from '../sys/process-identity.ts';
import { socketAnswers } from '../sys/socket-answers.ts';

let fixture: KeeperFixture;
beforeEach(async () => {
  fixture = await startKeeperFixture();
});
afterEach(() => fixture.close());

function request(key: string, argv: readonly string[], change: Partial<SpawnRequest> = {}): { op: 'spawn' } & SpawnRequest {
  return {
    op: 'spawn',
    key,
    argv,
    env: { KEEPER_TEST: `${fixture.folder}/${key}` },
    cwd: '/',
    user: null,
    cgroups: [],
    log: { folder: join(fixture.folder, 'log', key), bytes: 0 },
    recordFolder: join(fixture.folder, 'records', key),
    listeners: [],
    restart: null,
    ...change,
  };
}

const program = (code: string): string[] => [process.execPath, '-e', code];
const forever = program('setInterval(() => {}, 1000)');
const get = (key: string): Promise<ProcessRecord | null> => fixture.client.request({ op: 'get', key });
const running = (key: string): number[] => pidsWithEnvironEntry(`KEEPER_TEST=${fixture.folder}/${key}`);

async function end(key: string): Promise<void> {
  await fixture.client.request({ op: 'retire', key });
  await fixture.client.request({ op: 'signal', key, signal: 'SIGKILL', group: true });
  await until(`${key} has ended`, async () => (await get(key))?.state !== 'running');
}

test('a program is born into its own session with exactly the given environment and descriptors', async () => {
  const code = `const fs = require('node:fs'); const fds = fs.readdirSync('/proc/self/fd').map((fd) => { try { return fd + ' ' + fs.readlinkSync('/proc/self/fd/' + fd); } catch { return ''; } });
    fs.writeFileSync(process.argv[1], JSON.stringify({ env: process.env, fds: fds.filter((fd) => / (\\/|socket)/.test(fd)) }));`;
  const file = join(fixture.folder, 'facts.json');
  const record = await fixture.client.request(request('born', [...program(code), file]));
  assert.equal(record.state, 'running');
  await until('it has ended', async () => (await get('born'))?.state === 'exited');
  const facts: { env: unknown; fds: string[] } = JSON.parse(readFileSync(file, 'utf8'));
  assert.deepEqual(facts.env, { KEEPER_TEST: `${fixture.folder}/born` });
  const ours = facts.fds.filter((fd) => !fd.includes('/dev/') && !fd.includes('/proc/'));
  assert.deepEqual(
    ours.filter((fd) => !fd.endsWith('/stdout') && !fd.endsWith('/stderr')),
    [],
  );
});

test('the end of a program is told to every client and is on disk before', async () => {
  const other = await fixture.connect();
  const seen: KeeperEvent[] = [];
  other.onEvent((event) => {
    if (event.record.state === 'exited')
      assert.match(readFileSync(join(fixture.folder, 'records', 'ends', 'record.json'), 'utf8'), /"code":3/);
    seen.push(event);
  });
  await fixture.client.request(request('ends', program('process.exit(3)')));
  const last = await until('the end is told', () => seen.find((event) => event.record.state === 'exited'));
  assert.deepEqual([last.record.exit?.code, last.record.exit?.signal], [3, null]);
});

test('a client killed in the middle of a spawn leaves one program, and asking again gives that one', async () => {
  const message = JSON.stringify({ id: 1, ...request('orphan', forever) });
  const client = runModule(`import { connect } from 'node:net';
    const socket = connect(${JSON.stringify(keeperSocketPath(fixture.runFolder))}, () => { socket.write(${JSON.stringify(`${message}\n`)}, () => process.kill(process.pid, 'SIGKILL')); });`);
  await new Promise((resolve) => client.once('exit', resolve));
  const again = await Promise.all([fixture.client.request(request('orphan', forever)), fixture.client.request(request('orphan', forever))]);
  assert.equal(again[0].identity?.pid, again[1].identity?.pid);
  assert.deepEqual(running('orphan'), [again[0].identity?.pid]);
  await end('orphan');
});

test('a spawn that a dying keeper left half done is completed once by the next keeper', async () => {
  const spawning = fixture.client.request(request('twice', forever));
  await fixture.kill();
  const record = await spawning;
  assert.equal(record.state, 'running');
  assert.deepEqual(running('twice'), [record.identity?.pid]);
  await end('twice');
});

test('what cannot be started is a failed record with the reason of the system', async () => {
  const missing = await fixture.client.request(request('missing', ['/no/such/program']));
  assert.deepEqual([missing.state, missing.error?.code, missing.identity], ['failed', 'ENOENT', null]);
  const folder = await fixture.client.request(request('folder', forever, { cwd: '/no/such/folder' }));
  assert.deepEqual([folder.state, folder.error?.code], ['failed', 'ENOENT']);
  const group = await fixture.client.request(request('group', forever, { cgroups: ['/no/such/cgroup'] }));
  assert.equal(group.state, 'failed');
  const listener = await fixture.client.request(request('listener', forever, { listeners: ['nobody'] }));
  assert.match(listener.error?.message ?? '', /no listener “nobody”/);
});

test('garbage, unknown requests and endless lines hurt nobody but their sender', async () => {
  const keeper = fixture.pid();
  const send = (bytes: string | Buffer): Promise<string> =>
    new Promise((resolve) => {
      const socket = connect(keeperSocketPath(fixture.runFolder));
      let reply = '';
      socket.on('data', (chunk) => {
        reply += chunk.toString();
        socket.end();
      });
      socket.on('error', () => undefined);
      socket.on('close', () => resolve(reply));
      socket.write(bytes);
    });
  assert.equal(await send('GET / HTTP/1.1\r\n\r\n'), '');
  assert.equal(await send(Buffer.alloc(3 * 1024 * 1024, 'x')), '');
  assert.equal(await send('[1,2]\n'), '');
  assert.match(await send('{"id":1}\n'), /invalid_input/);
  assert.match(await send('{"id":1,"op":"explode"}\n'), /unsupported/);
  assert.match(await send('{"id":1,"op":"spawn","key":"x","argv":"rm -rf","env":{},"user":null,"restart":null}\n'), /invalid_input.*argv/);
  assert.match(await send(`{"id":1,"op":"spawn","key":"x","argv":["a\\u0000b"],"env":{},"cwd":"/"}\n`), /invalid_input/);
  assert.match(await send('{"id":1,"op":"signal","key":"x","signal":"KILL"}\n'), /invalid_input/);
  assert.match(await send('{"id":1,"op":"listen","name":"x","host":"example.com","port":1}\n'), /not an IP address/);
  assert.equal(fixture.pid(), keeper);
  assert.deepEqual((await fixture.client.request({ op: 'list' })).processes, []);
});

test('the socket is for its owner alone, and Ctrl-C in the terminal does not reach the keeper', async () => {
  assert.equal(statSync(keeperSocketPath(fixture.runFolder)).mode & 0o777, 0o600);
  const keeper = fixture.pid();
  process.kill(keeper, 'SIGINT');
  process.kill(keeper, 'SIGHUP');
  assert.equal((await fixture.client.request({ op: 'hello', program: 'test' })).pid, keeper);
});

test('a platform program is started again after every end until it is retired', async () => {
  const first = await fixture.client.request(request('steady', forever, { restart: { minMs: 20, maxMs: 100 } }));
  process.kill(first.identity?.pid ?? 0, 'SIGKILL');
  const second = await until('it runs again', async () => {
    const record = await get('steady');
    return record?.state === 'running' && record.restarts === 1 ? record : null;
  });
  assert.notEqual(second.identity?.pid, first.identity?.pid);
  await end('steady');
  assert.equal((await get('steady'))?.state, 'exited');
  await fixture.client.request({ op: 'forget', key: 'steady' });
  assert.equal(await get('steady'), null);
});

test('a program that always fails is started again ever more slowly', async () => {
  await fixture.client.request(request('crashing', program('process.exit(1)'), { restart: { minMs: 1, maxMs: 400 } }));
  const early = await until('three restarts', async () => ((await get('crashing'))?.restarts ?? 0) >= 3 && performance.now());
  await until('six restarts', async () => ((await get('crashing'))?.restarts ?? 0) >= 6);
  assert.ok(performance.now() - Number(early) > 20);
  await fixture.client.request({ op: 'retire', key: 'crashing' });
  await until('it has ended', async () => (await get('crashing'))?.state !== 'running');
});

test('a program that somebody attends to ends with its group when nobody does any more, and not before', async () => {
  const children =
    program(`require('node:child_process').spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    setInterval(() => {}, 1000)`);
  await fixture.client.request(request('lonely', children));
  await fixture.client.request(request('attended', forever));
  await until('both are there', () => running('lonely').length === 2);
  await fixture.client.request({ op: 'attend', key: 'lonely', forMs: 60_000 });
  await fixture.client.request({ op: 'attend', key: 'attended', forMs: 60_000 });
  await fixture.client.request({ op: 'attend', key: 'lonely', forMs: 50 });
  await until('nothing of it is left', () => running('lonely').length === 0);
  assert.equal(
    (await until('its end is known', async () => ((await get('lonely'))?.state === 'exited' ? get('lonely') : null))).exit?.signal,
    'SIGKILL',
  );
  assert.equal((await get('attended'))?.state, 'running');
  await fixture.client.request({ op: 'attend', key: 'nobody', forMs: 50 });
  await end('attended');
});

test('a running program cannot be forgotten', async () => {
  await fixture.client.request(request('kept', forever));
  await assert.rejects(fixture.client.request({ op: 'forget', key: 'kept' }), { code: 'conflict' });
  await end('kept');
});

test('a keeper that is told to shut down stays while a program runs and ends after it', async () => {
  const folder = temporaryFolder();
  const socketPath = join(folder, 'keeper.sock');
  const [file = '', ...words] = keeperArgv(socketPath);
  const child = spawn(file, words, { stdio: 'ignore' });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  await until('it listens', () => socketAnswers(socketPath));
  const client = await connectKeeper({ socketPath, program: 'test' });
  await client.request(request('last', forever));
  await client.request({ op: 'shutdown', force: false });
  assert.equal((await client.request({ op: 'list' })).processes.length, 1);
  assert.deepEqual(await client.request({ op: 'signal', key: 'last', signal: 'SIGKILL', group: true }), { delivered: true });
  assert.equal(await ended, 0);
  await client.close();
  rmSync(folder, { recursive: true });
});

test('a keeper that nobody needs ends by itself', async () => {
  const folder = temporaryFolder();
  const socketPath = join(folder, 'keeper.sock');
  const [file = '', ...words] = keeperArgv(socketPath, { idleMs: 50 });
  const child = spawn(file, words, { stdio: 'ignore' });
  const code = await new Promise((resolve) => child.once('exit', resolve));
  assert.equal(code, 0);
  rmSync(folder, { recursive: true });
});

test('many starters at once get one keeper, also where the path is too long for a socket', async () => {
  const folder = temporaryFolder();
  const runFolder = join(folder, 'x'.repeat(120), 'run');
  const socketPath = keeperSocketPath(runFolder);
  assert.ok(Buffer.byteLength(socketPath) < 108 && !socketPath.startsWith(folder));
  const argv = keeperArgv(socketPath, { idleMs: 300 });
  const results = await Promise.all(Array.from({ length: 8 }, () => ensureKeeper({ runFolder, argv })));
  assert.equal(results.filter((result) => result.started).length, 1);
  assert.deepEqual(new Set(results.map((result) => result.socketPath)), new Set([socketPath]));
  const { pid }: { pid: number } = JSON.parse(readFileSync(join(runFolder, 'keeper.json'), 'utf8'));
  const identity = readIdentity(pid);
  assert.ok(identity !== null);
  await until('the unneeded keeper has ended', () => !isIdentityAlive(identity));
  rmSync(folder, { recursive: true });
  rmSync(dirname(socketPath), { recursive: true });
});

test('a keeper that cannot start is reported with its last words', async () => {
  const folder = temporaryFolder();
  const runFolder = join(folder, 'run');
  const argv = [process.execPath, '-e', 'console.error("no luck today"); process.exit(1)'];
  await assert.rejects(ensureKeeper({ runFolder, argv, deadlineMs: 5000 }), (error: unknown) => {
    assert.ok(error instanceof Error && 'code' in error && error.code === 'start_failed');
    assert.match(error.message, /no luck today/);
    return true;
  });
  rmSync(folder, { recursive: true });
});

test('a connection is refused at full speed of restarts never, while the keeper holds the socket', async () => {
  const { port } = await fixture.client.request({ op: 'listen', name: 'web', host: '127.0.0.1', port: 0, takeover: false });
  const server = `const server = require('node:http').createServer((q, s) => { s.setHeader('connection', 'close'); s.end(String(process.pid)); }); server.listen({ fd: 3 });`;
  const record = await fixture.client.request(request('web', program(server), { listeners: ['web'], restart: { minMs: 1, maxMs: 50 } }));
  const ask = (): Promise<string> =>
    new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n'));
      let reply = '';
      socket.on('data', (chunk) => {
        reply += chunk.toString();
      });
      socket.on('error', (error) => {
        reply ||= 'code' in error ? String(error.code) : 'error';
      });
      socket.on('close', () => resolve(reply));
    });
  await until('it answers', async () => (await ask()).includes('200 OK'));
  const pids = new Set<string>();
  const outcomes = new Map<string, number>();
  let pid = record.identity?.pid ?? 0;
  for (let round = 0; round < 5; round += 1) {
    const burst = Array.from({ length: 20 }, ask);
    process.kill(pid, 'SIGKILL');
    burst.push(...Array.from({ length: 20 }, ask));
    for (const reply of await Promise.all(burst)) {
      const outcome = reply.includes('200 OK') ? 'answered' : reply === '' || reply === 'ECONNRESET' ? 'in flight' : reply;
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      if (outcome === 'answered') pids.add(reply.split('\r\n\r\n')[1] ?? '');
    }
    const now = await until('it runs again', async () => {
      const next = await get('web');
      return next?.state === 'running' && next.restarts === round + 1 ? next : null;
    });
    pid = now.identity?.pid ?? 0;
  }
  assert.deepEqual(
    [...outcomes.keys()].filter((outcome) => outcome !== 'answered' && outcome !== 'in flight'),
    [],
  );
  assert.ok((outcomes.get('answered') ?? 0) >= 100, JSON.stringify([...outcomes]));
  assert.ok(pids.size >= 2);
  await end('web');
});

test('after the death of a keeper the next one holds the port again, adopts the program on it, and starts that again when it ends', async () => {
  const listen = { op: 'listen', name: 'web', host: '127.0.0.1', port: 0, takeover: false } as const;
  const { port } = await fixture.client.request(listen);
  const server = `require('node:http').createServer((q, s) => s.end('ok')).listen({ fd: 3 });`;
  const web = request('edge', program(server), { listeners: ['web'], restart: { minMs: 1, maxMs: 50 } });
  await fixture.client.request(web);
  const ask = async (): Promise<string> => (await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } })).text();
  await until('it serves', () => ask().catch(() => null));
  const before = running('edge');
  await fixture.kill();
  assert.equal(await ask(), 'ok');
  const { listeners } = await fixture.client.request({ op: 'list' });
  assert.deepEqual(listeners, [{ name: 'web', host: '127.0.0.1', port }]);
  const record = await fixture.client.request(web);
  assert.deepEqual([record.identity?.pid], before);
  process.kill(before[0] ?? 0, 'SIGKILL');
  await until('it serves again', () => ask().catch(() => null));
  assert.notDeepEqual(running('edge'), before);
  await end('edge');
});

test('what another program holds is named with its process, and is not taken over', async () => {
  const { port } = await fixture.client.request({ op: 'listen', name: 'web', host: '127.0.0.1', port: 0, takeover: false });
  await fixture.client.request(request('holder', program(`require('node:net').createServer().listen({ fd: 3 });`), { listeners: ['web'] }));
  const [holder] = running('holder');
  await fixture.client.request({ op: 'unlisten', name: 'web' });
  await until('it listens', () => describeListener(port));
  await assert.rejects(
    fixture.client.request({ op: 'listen', name: 'web', host: '127.0.0.1', port, takeover: false }),
    new RegExp(`127\\.0\\.0\\.1:${port} is in use by process ${holder} \\(node\\)`),
  );
  await end('holder');
});
