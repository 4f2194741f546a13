// The process driver against programs that misbehave and a keeper that is killed: real processes, real signals.

import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { startKeeperFixture, until } from '../../sys/keeper-fixture.ts';
import type { KeeperFixture } from '../../sys/keeper-fixture.ts';
import { listPids, pidsWithEnvironEntry, readIdentity, readProcessStat } from '../../sys/process-identity.ts';
import { readCopy } from '../../sys/copy-tar.ts';
import type { CopyPlace, RunSpec } from '../contract.ts';
import { createProcessDriver } from './driver.ts';
import type { ProcessDriver, ProcessDriverOptions } from './driver.ts';

const never = new AbortController().signal;
const isRoot = process.geteuid?.() === 0;
const rootOnly = isRoot ? false : 'needs root: run the tests as root to see own users per App enforced';

let fixture: KeeperFixture;
let driver: ProcessDriver;
beforeEach(async () => {
  fixture = await startKeeperFixture();
  driver = create();
});
afterEach(async () => {
  await driver.sweep(new Set());
  await driver.close();
  await fixture.close();
});

function create(options: Partial<ProcessDriverOptions> = {}): ProcessDriver {
  return createProcessDriver({ keeper: fixture.client, dataFolder: fixture.folder, nodeBinary: process.execPath, ...options });
}

async function spec(key: string, argv: readonly string[], change: Partial<RunSpec> = {}): Promise<RunSpec> {
  const workFolder = join(fixture.folder, 'instances', key, 'work');
  mkdirSync(workFolder, { recursive: true });
  await driver.prepareFolders('app', [workFolder]);
  return {
    key,
    instanceId: `instance-${key}`,
    appId: 'app',
    artifact: { kind: 'bundle', digest: 'none', sizeBytes: 0 },
    argv,
    env: {},
    workFolder,
    logFolder: join(fixture.folder, 'instances', key, 'log'),
    logBytes: 1024 * 1024,
    port: null,
    resources: { cpu: { request: 1, limit: 2, bind: false }, memory: { requestBytes: 2 ** 28, limitBytes: 2 ** 28 }, diskBytes: 2 ** 30 },
    cores: null,
    service: true,
    ...change,
  };
}

const script = (code: string): string[] => ['node', '-e', code];

async function waitForLine(run: RunSpec, pattern: RegExp): Promise<string> {
  const stop = new AbortController();
  for await (const line of driver.logs(run.logFolder, { follow: true, signal: stop.signal })) {
    if (!pattern.test(line.text)) continue;
    stop.abort();
    return line.text;
  }
  throw new Error('the log ended');
}

/** By what no other run of these tests on this machine has. */
const entriesOf = (run: RunSpec): number[] => pidsWithEnvironEntry(`HOME=${run.workFolder}`);

for (const confined of [true, false]) {
  test(`a grandchild that changed its session is gone after the stop (${confined ? 'cgroup' : 'marker in the environment'})`, async (t) => {
    if (confined && driver.info.limits.memory !== 'enforced') return t.skip(`no cgroup: ${driver.info.limits.memory}`);
    const own = create({ cgroups: confined });
    const run = await spec(
      'forks.1',
      script(`const { spawn } = require('node:child_process');
        const child = spawn('setsid', ['node', '-e', 'process.on("SIGTERM",()=>{}); console.log("up " + process.pid); setInterval(()=>{},1e3)'], { detached: true, stdio: 'inherit' });
        child.unref(); setInterval(() => {}, 1000);`),
    );
    const handle = await own.ensure(run);
    const grandchild = Number((await waitForLine(run, /^up/)).split(' ')[1]);
    assert.notEqual(readProcessStat(grandchild)?.sessionId, readProcessStat(entriesOf(run)[0] ?? 0)?.sessionId);
    const end = await own.stop(handle, { signal: 'SIGTERM', timeoutMs: 5000 });
    assert.equal(end.state, 'exited');
    assert.equal(readIdentity(grandchild), null);
    assert.deepEqual(entriesOf(run), []);
    await own.close();
  });
}

test('the program gets exactly its environment and folder, and nothing of ours', async () => {
  process.env['LIBRA_TEST_LEAK'] = 'leaked';
  const run = await spec('exact.1', script('console.log(JSON.stringify([process.env, process.cwd(), process.argv0]))'), {
    env: { PORT: '20123', 'odd name': 'ä = $HOME "quoted"' },
  });
  const handle = await driver.ensure(run);
  await driver.wait(handle, never);
  delete process.env['LIBRA_TEST_LEAK'];
  const [env, cwd]: [Record<string, string>, string] = JSON.parse(await waitForLine(run, /^\[/));
  const { LIBRA_ATTEMPT, PATH, ...rest } = env;
  assert.match(LIBRA_ATTEMPT ?? '', /^[0-9a-f]{12}\/exact\.1$/);
  assert.equal(PATH?.split(':')[0], join(fixture.folder, 'bin'));
  const user = isRoot ? { USER: 'libra-200000', LOGNAME: 'libra-200000' } : {};
  assert.deepEqual(rest, {
    HOME: run.workFolder,
    ...user,
    LIBRA_INSTANCE: run.instanceId,
    PORT: '20123',
    'odd name': 'ä = $HOME "quoted"',
  });
  assert.equal(cwd, run.workFolder);
});

test('Apps run as their own users without a way to more rights', { skip: rootOnly }, async () => {
  const code = `const fs = require('node:fs'); const status = fs.readFileSync('/proc/self/status', 'utf8');
    const pick = (name) => status.split('\\n').find((line) => line.startsWith(name + ':')).split(':')[1].trim().split(/\\s+/);
    console.log(JSON.stringify([pick('Uid')[0], pick('Groups'), pick('NoNewPrivs')[0], pick('CapPrm')[0], pick('CapInh')[0], pick('CapAmb')[0], pick('CapEff')[0]]))`;
  const first = await spec('one.1', script(code));
  await driver.wait(await driver.ensure(first), never);
  assert.deepEqual(JSON.parse(await waitForLine(first, /^\[/)), ['200000', [''], '1', ...Array.from({ length: 4 }, () => '0'.repeat(16))]);
  const second = { ...(await spec('two.1', script(code))), appId: 'other' };
  await driver.prepareFolders('other', [second.workFolder]);
  await driver.wait(await driver.ensure(second), never);
  assert.equal(JSON.parse(await waitForLine(second, /^\[/))[0], '200001');
  const spying = {
    ...(await spec('spy.1', ['node', '-e', `require('node:fs').readdirSync(${JSON.stringify(first.workFolder)})`])),
    appId: 'other',
  };
  await driver.prepareFolders('other', [spying.workFolder]);
  const end = await driver.wait(await driver.ensure(spying), never);
  assert.ok(end.state === 'exited' && end.code === 1);
  assert.match(await waitForLine(spying, /EACCES/), /permission denied/);
});

test('a folder that the App owns is given to it again without leaving the folder', { skip: rootOnly }, async () => {
  const run = await spec('links.1', []);
  const outside = join(fixture.folder, 'outside');
  mkdirSync(join(outside, 'deep'), { recursive: true });
  writeFileSync(join(outside, 'deep', 'secret'), 'x');
  symlinkSync(outside, join(run.workFolder, 'link'));
  linkSync(join(outside, 'deep', 'secret'), join(run.workFolder, 'second-name'));
  writeFileSync(join(run.workFolder, 'new'), 'x');
  await driver.prepareFolders('app', [run.workFolder]);
  assert.equal(lstatSync(join(run.workFolder, 'new')).uid, 200_000);
  assert.equal(lstatSync(join(run.workFolder, 'link')).uid, 200_000);
  assert.deepEqual([statSync(outside).uid, statSync(join(outside, 'deep', 'secret')).uid], [0, 0]);
});

test('a program over its memory limit is killed and reported as out of memory', async (t) => {
  if (driver.info.limits.memory !== 'enforced') return t.skip(`no cgroup: ${driver.info.limits.memory}`);
  const run = await spec('greedy.1', script('const held = []; for (;;) held.push(Buffer.alloc(8 * 1024 * 1024, 1));'), {
    resources: { cpu: { request: 1, limit: 2, bind: false }, memory: { requestBytes: 2 ** 26, limitBytes: 2 ** 26 }, diskBytes: 2 ** 30 },
  });
  const end = await driver.wait(await driver.ensure(run), never);
  assert.ok(end.state === 'exited');
  assert.deepEqual([end.signal, end.outOfMemory], ['SIGKILL', true]);
});

test('a program over its cpu limit is slowed down to it', async (t) => {
  if (driver.info.limits.cpu !== 'enforced') return t.skip(`no cgroup: ${driver.info.limits.cpu}`);
  const code = `const end = Date.now() + 1000; while (Date.now() < end); const { user, system } = process.cpuUsage(); console.log('used ' + (user + system));`;
  const run = await spec('busy.1', script(code), {
    resources: {
      cpu: { request: 0.2, limit: 0.2, bind: false },
      memory: { requestBytes: 2 ** 28, limitBytes: 2 ** 28 },
      diskBytes: 2 ** 30,
    },
  });
  await driver.wait(await driver.ensure(run), never);
  const used = Number((await waitForLine(run, /^used/)).split(' ')[1]);
  assert.ok(used < 450_000, `${used} µs in about a second`);
});

test('a program runs on the cores that it is given alone, with all that it starts, and can be sent to others', async (t) => {
  if (driver.info.limits.cores !== 'enforced') return t.skip(`no cgroup: ${driver.info.limits.cores ?? ''}`);
  const allowed = (pid: number): string => /^Cpus_allowed_list:\s+(.*)$/mu.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
  const all = allowed(process.pid);
  const code =
    "require('node:child_process').spawn('sleep', ['60']).on('spawn', function () { console.log('child ' + this.pid); }); setInterval(() => {}, 1000);";
  const own = await spec('own.1', script(code), { cores: [0] });
  const handle = await driver.ensure(own);
  const child = Number((await waitForLine(own, /^child/)).split(' ')[1]);
  const state = await driver.inspect(handle);
  assert.ok(state.state === 'running' && state.pid !== null);
  const first = all.split(/[-,]/u)[0] ?? '';
  assert.deepEqual([allowed(state.pid), allowed(child)], [first, first]);
  const other = await driver.ensure(await spec('other.1', script('setInterval(() => {}, 1000)')));
  const otherState = await driver.inspect(other);
  assert.ok(otherState.state === 'running' && otherState.pid !== null);
  assert.equal(allowed(otherState.pid), all);
  await driver.confine?.(other, [0]);
  assert.equal(allowed(otherState.pid), first);
  await driver.stop(other, { signal: 'SIGKILL', timeoutMs: 0 });
  // Of one that is gone nothing is to be done.
  await driver.remove(other);
  await driver.confine?.(other, [0]);
});

test('a program that logs as fast as it can fills no more disk than its bound', async () => {
  const run = await spec(
    'loud.1',
    script(`const block = Buffer.alloc(65536, 'x'.repeat(127) + '\\n'); const fs = require('node:fs');
    const end = Date.now() + 2000; while (Date.now() < end) fs.writeSync(1, block);`),
  );
  const handle = await driver.ensure(run);
  const used = (): number => readdirSync(run.logFolder).reduce((sum, name) => sum + statSync(join(run.logFolder, name)).size, 0);
  let most = 0;
  const waited = driver.wait(handle, never);
  let ended = false;
  void waited.then(() => {
    ended = true;
  });
  await until('the loud program has ended', () => {
    if (existsSync(run.logFolder)) {
      try {
        most = Math.max(most, used());
      } catch {
        // A segment was deleted between the listing and the look.
      }
    }
    return ended;
  });
  const end = await waited;
  assert.ok(end.state === 'exited' && end.code === 0);
  assert.ok(most > 2 ** 19 && most <= run.logBytes, `${most} bytes on disk`);
});

test('when the keeper is killed, a flooding program waits at a full pipe and goes on at the next one', async () => {
  const run = await spec(
    'flood.1',
    script(`let n = 0; const fs = require('node:fs');
    const write = () => { for (let i = 0; i < 200; i += 1) fs.writeSync(1, 'line ' + (n++) + ' ' + 'y'.repeat(80) + '\\n'); setImmediate(write); }; write();`),
  );
  const handle = await driver.ensure(run);
  await waitForLine(run, /^line \d{4}/);
  const before = await driver.inspect(handle);
  assert.ok(before.state === 'running');
  const waited = driver.wait(handle, never);
  const oldKeeper = fixture.pid();
  await fixture.kill();
  await until('another keeper has come', () => fixture.pid() !== 0 && fixture.pid() !== oldKeeper);
  const after = await driver.inspect(handle);
  assert.deepEqual(after, before);
  const last = (await lastLine(run))?.cursor;
  await until('output flows again', async () => (await lastLine(run))?.cursor !== last);
  // Nothing that the pipe held was lost: the numbers of all kept whole lines follow each other, but for what rotation deleted.
  let previous: number | null = null;
  for await (const line of driver.logs(run.logFolder, { tail: 5000, follow: false, signal: never })) {
    const number: number | null = /^line (\d+) /.exec(line.text) === null ? null : Number(line.text.split(' ')[1]);
    if (number !== null && previous !== null) assert.equal(number, previous + 1);
    previous = number;
  }
  assert.equal((await driver.stop(handle, { signal: 'SIGTERM', timeoutMs: 2000 })).state, 'unknown');
  assert.equal((await waited).state, 'unknown');
  assert.deepEqual(entriesOf(run), []);
});

async function lastLine(run: RunSpec): Promise<{ cursor: string; text: string } | null> {
  for await (const line of driver.logs(run.logFolder, { tail: 1, follow: false, signal: never })) return line;
  return null;
}

test('the end of a one-off that nobody watched is known from its record', async () => {
  const run = await spec('unseen.1', script('process.exit(5)'));
  const handle = await driver.ensure(run);
  await until('its end is on disk', () =>
    /"state":"exited"/.test(readFileSync(join(fixture.folder, 'process', 'unseen.1', 'record.json'), 'utf8')),
  );
  await fixture.kill();
  const end = await create().inspect(handle);
  assert.ok(end.state === 'exited');
  assert.equal(end.code, 5);
});

test('a program that died while there was no keeper has an unknown end, and its key starts nothing again', async () => {
  const run = await spec('lost.1', script(`console.log('up'); setInterval(() => {}, 1000)`));
  const handle = await driver.ensure(run);
  await waitForLine(run, /^up/);
  const state = await driver.inspect(handle);
  assert.ok(state.state === 'running' && state.pid !== null);
  const keeper = fixture.pid();
  process.kill(keeper, 'SIGSTOP');
  process.kill(state.pid, 'SIGKILL');
  await fixture.kill();
  assert.equal((await driver.inspect(handle)).state, 'unknown');
  assert.deepEqual(await driver.ensure(run), handle);
  assert.deepEqual(entriesOf(run), []);
});

test('a program that a keeper started and died before writing it down is found, not started twice', async () => {
  const run = await spec('between.1', script(`console.log('up'); setInterval(() => {}, 1000)`));
  const handle = await driver.ensure(run);
  await waitForLine(run, /^up/);
  const record = join(fixture.folder, 'process', 'between.1', 'record.json');
  const pids = entriesOf(run);
  await fixture.kill();
  // What the file holds between the decision to start and the start.
  const written: Record<string, unknown> = JSON.parse(readFileSync(record, 'utf8'));
  writeFileSync(record, JSON.stringify({ ...written, identity: null }));
  assert.deepEqual(await driver.ensure(run), handle);
  assert.deepEqual(entriesOf(run), pids);
  const state = await driver.inspect(handle);
  assert.ok(state.state === 'running' && pids.includes(state.pid ?? 0));
});

test('commands that cannot start say why, each in its own words', async () => {
  const run = await spec('bad.1', []);
  const attempt = async (argv: readonly string[]): Promise<string> => {
    try {
      await driver.ensure({ ...run, argv });
    } catch (error) {
      assert.ok(error instanceof Error && 'code' in error && error.code === 'start_failed');
      return error.message;
    }
    throw new Error(`${argv.join(' ')} started`);
  };
  const file = (name: string, text: string, mode: number): string => {
    writeFileSync(join(run.workFolder, name), text, { mode });
    return `./${name}`;
  };
  assert.match(await attempt(['nope', '--flag']), /“nope” was not found\. Searched PATH: .*\/usr\/bin/);
  assert.match(await attempt(['./absent']), /“\.\/absent” does not exist in the App's folder/);
  assert.match(await attempt([file('data.txt', 'hello', 0o644)]), /may not be executed/);
  assert.match(await attempt([file('plain', 'echo hello\n', 0o755)]), /neither a program nor a script/);
  assert.match(await attempt([file('strange', '#!/opt/none/lua\n', 0o755)]), /interpreter “\/opt\/none\/lua”/);
  assert.match(await attempt(['.']), /not found/);
  assert.match(await attempt(['./']), /is a folder/);
  assert.match(await attempt(['']), /was not found/);
});

test('a program in a folder that is closed to the App is passed over for the next one on the PATH', { skip: rootOnly }, async () => {
  const closed = mkdtempSync(join(tmpdir(), 'libra-closed-'));
  try {
    writeFileSync(join(closed, 'true'), '#!/bin/false\n', { mode: 0o755 });
    writeFileSync(join(closed, 'mine'), '#!/bin/false\n', { mode: 0o755 });
    const run = await spec('closed.1', ['true']);
    const env = { ...run.env, PATH: `${closed}:/usr/bin:/bin` };
    const handle = await driver.ensure({ ...run, env });
    const end = await driver.wait(handle, never);
    assert.equal(end.state === 'exited' && end.code, 0);
    await assert.rejects(driver.ensure({ ...run, key: 'closed.2', env, argv: ['mine'] }), /folder that the App's user may not enter/);
  } finally {
    rmSync(closed, { recursive: true });
  }
});

test('a command runs beside the program as the same user in the same folder, and gives its code', async () => {
  const run = await spec('shell.1', script('setInterval(() => {}, 1000)'));
  const handle = await driver.ensure(run);
  const session = await driver.exec?.(handle, {
    argv: [
      'node',
      '-e',
      `process.stdin.on('data', (d) => process.stdout.write('got ' + d)).on('end', () => { console.error(process.cwd() + ' ' + process.env.EXTRA); process.exit(4); })`,
    ],
    env: { EXTRA: 'yes' },
    cwd: run.workFolder,
  });
  assert.ok(session !== undefined);
  await session.write(Buffer.from('hello'));
  session.endInput();
  const output = { stdout: '', stderr: '' };
  for await (const { stream, chunk } of session.output) output[stream] += Buffer.from(chunk).toString();
  assert.deepEqual(output, { stdout: 'got hello', stderr: `${run.workFolder} yes\n` });
  assert.deepEqual(await session.exited, { code: 4, signal: null });
  await assert.rejects(driver.exec?.(handle, { argv: ['nope'], env: {}, cwd: run.workFolder }) ?? Promise.resolve(), {
    code: 'start_failed',
  });
});

test('a command that is still running ends with the stop of the Instance', async () => {
  const run = await spec('shells.1', script('setInterval(() => {}, 1000)'));
  const handle = await driver.ensure(run);
  const session = await driver.exec?.(handle, { argv: ['sleep', '600'], env: {}, cwd: run.workFolder });
  assert.ok(session !== undefined);
  await driver.stop(handle, { signal: 'SIGTERM', timeoutMs: 1000 });
  const { signal } = await session.exited;
  assert.ok(signal === 'SIGTERM' || signal === 'SIGKILL');
});

test('the diagnosis names the port and address that the program chose instead', async () => {
  const listening = async (key: string, port: number, listen: string): Promise<string | undefined> => {
    const run = await spec(key, script(`require('node:net').createServer().listen(${listen}, () => console.log('up'))`), {
      port,
      env: { HOST: '127.0.0.1' },
    });
    const handle = await driver.ensure(run);
    await waitForLine(run, /^up/);
    const found = await driver.diagnose?.(handle, run);
    await driver.stop(handle, { signal: 'SIGKILL', timeoutMs: 0 });
    return found === null || found === undefined ? undefined : `${found.code}: ${found.message}`;
  };
  assert.match(
    (await listening('elsewhere.1', 20001, `0, '127.0.0.1'`)) ?? '',
    /^wrong_port: It listens on 127\.0\.0\.1:\d+ instead of \$PORT 20001\.$/,
  );
  assert.equal(
    await listening('inside.1', 28931, `28931, '127.0.0.2'`),
    'wrong_address: It listens on 127.0.0.2:28931, where 127.0.0.1 does not reach it.',
  );
  assert.equal(await listening('right.1', 28932, `28932, '0.0.0.0'`), undefined);
});

test('the diagnosis of a program that does not listen says so', async () => {
  const run = await spec('deaf.1', script(`console.log('up'); setInterval(() => {}, 1000)`), { port: 28933 });
  const handle = await driver.ensure(run);
  await waitForLine(run, /^up/);
  assert.equal((await driver.diagnose?.(handle, run))?.code, 'never_listened');
});

test('usage counts the processes and their memory', async () => {
  const run = await spec('usage.1', script(`console.log('up'); setInterval(() => {}, 1000)`));
  const handle = await driver.ensure(run);
  await waitForLine(run, /^up/);
  const usage = await driver.usage?.(handle);
  assert.ok(usage !== undefined && usage.processes === 1 && usage.memoryBytes > 2 ** 22 && usage.cpuSeconds > 0);
});

test('what a program and its children wrote to disks is counted; what they send cannot be told from the rest of the machine', async () => {
  const bytes = 8 * 1024 * 1024;
  const write = `const fs = require('node:fs'); const file = fs.openSync('data', 'w'); fs.writeSync(file, Buffer.alloc(${bytes})); fs.fsyncSync(file);`;
  const program = `require('node:child_process').spawnSync(process.execPath, ['-e', ${JSON.stringify(write)}]); ${write} console.log('written'); setInterval(() => {}, 1000);`;
  const written = await spec('writes.1', ['node', '-e', program]);
  const handle = await driver.ensure(written);
  await until('it has written', async () => (await lastLine(written))?.text === 'written');
  const usage = await driver.usage?.(handle);
  assert.ok((usage?.disk?.writtenBytes ?? 0) >= 2 * bytes, JSON.stringify(usage));
  assert.equal(usage?.network, undefined);
});

test('a copy takes along nothing that is not the App’s, whatever name it has in its folder', { skip: rootOnly }, async () => {
  const running = await spec('copies.1', ['node', '-e', 'setInterval(() => {}, 1000)']);
  const handle = await driver.ensure(running);
  const secret = join(fixture.folder, 'owner.token');
  writeFileSync(secret, 'secret', { mode: 0o600 });
  const folder = join(running.workFolder, 'mine');
  mkdirSync(folder);
  writeFileSync(join(folder, 'own'), 'own');
  await driver.prepareFolders('app', [folder]);
  linkSync(secret, join(folder, 'second-name'));
  symlinkSync(secret, join(folder, 'link'));
  const place = (path: string): CopyPlace => ({ path, workFolder: running.workFolder, folders: [running.workFolder] });
  const left: string[] = [];
  const names: string[] = [];
  const leaveOut = (path: string): void => void left.push(path);
  const tar = driver.readFiles?.(handle, place('mine'), leaveOut);
  assert.ok(tar !== undefined);
  for await (const { path } of readCopy(tar, { as: null, leaveOut })) names.push(path);
  assert.deepEqual(
    [names, left],
    [
      ['mine', 'mine/own'],
      ['mine/second-name', 'mine/link'],
    ],
  );
  const direct = driver.readFiles?.(handle, place('mine/link'), leaveOut);
  await assert.rejects(
    async () => {
      for await (const _chunk of direct ?? []);
    },
    { code: 'invalid_input' },
  );
});

test(
  'variables of an App steer no program that has more rights than the App, at its start and at that of commands beside it',
  { skip: rootOnly },
  async () => {
    // The loader of every program that is started with these writes a file, as the user that it runs as.
    const trace = (name: string) => ({ LD_DEBUG: 'libs', LD_DEBUG_OUTPUT: join(fixture.folder, 'traces', name) });
    mkdirSync(join(fixture.folder, 'traces'));
    chmodSync(join(fixture.folder, 'traces'), 0o777);
    const code = "console.log('seen ' + process.env.LD_DEBUG); setInterval(() => {}, 1000)";
    const run = await spec('steers.1', ['node', '-e', code], { env: trace('run') });
    const handle = await driver.ensure(run);
    await waitForLine(run, /^seen libs$/u);
    const beside = await driver.exec?.(handle, { argv: ['node', '-p', 'process.env.LD_DEBUG'], env: trace('exec'), cwd: run.workFolder });
    assert.ok(beside !== undefined);
    let said = '';
    for await (const { chunk } of beside.output) said += Buffer.from(chunk).toString();
    assert.deepEqual([said.trim(), await beside.exited], ['libs', { code: 0, signal: null }]);
    const traces = readdirSync(join(fixture.folder, 'traces'));
    assert.ok(
      ['run', 'exec'].every((name) => traces.some((each) => each.startsWith(name))),
      traces.join(),
    );
    for (const each of traces) assert.equal(statSync(join(fixture.folder, 'traces', each)).uid, 200_000, each);
    const argv = readFileSync(
      `/proc/${(await driver.inspect(handle).then((state) => (state.state === 'running' ? state.pid : null))) ?? ''}/cmdline`,
      'utf8',
    );
    assert.ok(argv.endsWith(`${code}\0`) && !argv.includes('LD_DEBUG='), 'it is the program itself that runs');
  },
);

const terminals =
  isRoot && existsSync('/usr/sbin/runuser') ? false : 'needs root and runuser: run the tests as root to see terminals of processes';

test(
  'a command beside a process has a terminal of the asked-for size, as the App’s user, with its variables',
  { skip: terminals },
  async () => {
    const run = await spec('terminal.1', script('setInterval(() => {}, 1000)'));
    const handle = await driver.ensure(run);
    const code = `const { isTTY, columns, rows } = process.stdout;
    const status = require('node:fs').readFileSync('/proc/self/status', 'utf8').split(String.fromCharCode(10));
    const field = (name) => status.find((line) => line.startsWith(name + ':')).split(':')[1].trim();
    const { SECRET, LD_DEBUG_OUTPUT } = process.env;
    console.log(JSON.stringify([isTTY && process.stdin.isTTY, columns, rows, process.getuid(), SECRET, LD_DEBUG_OUTPUT,
      field('NoNewPrivs'), field('CapBnd'), process.cwd()]));
    process.stdout.on('resize', () => console.log('now ' + process.stdout.columns));
    process.stdin.on('data', (data) => process.exit(String(data).length));`;
    const session = await driver.exec?.(handle, {
      argv: ['node', '-e', code],
      env: { SECRET: 'not in argv', LD_DEBUG_OUTPUT: '/nowhere' },
      cwd: run.workFolder,
      terminal: { columns: 132, rows: 50 },
    });
    assert.ok(session !== undefined);
    let text = '';
    const read = (async () => {
      for await (const { chunk } of session.output) text += Buffer.from(chunk).toString();
    })();
    await until('it has begun', () => text.includes(']\r\n')).catch((error: unknown) => assert.fail(`${String(error)}: ${text}`));
    assert.deepEqual(JSON.parse(text), [true, 132, 50, 200_000, 'not in argv', '/nowhere', '1', '0'.repeat(16), run.workFolder]);
    for (const pid of listPids()) assert.doesNotMatch(commandLine(pid), /not in argv/u);
    await session.resize?.({ columns: 90, rows: 20 });
    await until('it has the new size', () => text.includes('now 90'));
    await session.write(Buffer.from('four\r'));
    assert.deepEqual(await session.exited, { code: 5, signal: null });
    await read;
    assert.match(text, /\r\nfour\r\n/u, 'what is typed is seen');
  },
);

test('a command in a terminal ends with whoever asked for it', { skip: terminals }, async () => {
  const run = await spec('hangs.1', script('setInterval(() => {}, 1000)'));
  const handle = await driver.ensure(run);
  await until('the Instance is there', () => entriesOf(run).length === 1);
  const argv = ['node', '-e', "process.on('SIGHUP', () => {}); console.log('up'); setInterval(() => {}, 1000)"];
  const session = await driver.exec?.(handle, { argv, env: {}, cwd: run.workFolder, terminal: { columns: 80, rows: 24 } });
  assert.ok(session !== undefined);
  for await (const { chunk } of session.output) if (Buffer.from(chunk).toString().includes('up')) break;
  session.kill();
  assert.equal((await session.exited).signal, 'SIGKILL');
  await until('nothing of it is left', () => entriesOf(run).length === 1);
});

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}
