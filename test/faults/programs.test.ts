// Programs that misbehave under the real platform: each ends as a visible state with its reason, nothing of it is left running, and
// the rest of the platform goes on answering.

import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { ReplyOf } from '../../src/api/endpoint.ts';
import type { ApiTable } from '../../src/api/table.ts';
import { serverApp, writeApp } from '../fixtures/app-folder.ts';
import { Platform, root, until } from '../platform.ts';
import type { CliResult } from '../platform.ts';
import { lacking } from '../requirements.ts';

type Instance = ReplyOf<ApiTable['instances']['get']>;

const platform = new Platform();

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/mu.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

function bytesIn(folder: string): number {
  let bytes = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    try {
      bytes += statSync(join(entry.parentPath, entry.name)).size;
    } catch {
      // Rotated away meanwhile.
    }
  }
  return bytes;
}

/** A program of one file, deployed as the App `name`. */
function program(name: string, code: string, web: readonly string[] = [], more = ''): Promise<CliResult> {
  const yaml = ['    command: node main.mjs', '    resources: { cpu: 0.1, memory: 128Mi }', ...web.map((line) => `    ${line}`)];
  const folder = writeApp(platform, name, {
    'libra.yaml': `app: ${name}\nentrypoints:\n  web:\n${yaml.join('\n')}\n${more}`,
    'main.mjs': code,
  });
  return platform.cli('deploy', folder);
}

const LISTEN = 'createServer(answer).listen(Number(process.env.PORT), process.env.HOST);';

async function instances(app: string, all = false): Promise<readonly Instance[]> {
  return (await platform.client().instances.list({ params: { app, environment: 'production' }, query: { all } })).items;
}

async function remove(app: string): Promise<void> {
  assert.equal((await platform.cli('apps', 'delete', app, '--yes')).code, 0);
  await until(`${app} is gone`, 30_000, async () => !(await platform.client().apps.list({})).items.some((item) => item.name === app));
}

/** Tells its own process and that of the child that it starts. */
const family = (how: string): string => `
import { createServer } from 'node:http';
import { spawn } from 'node:child_process';
const child = ${how};
child.unref();
const answer = (request, response) => response.end(JSON.stringify([process.pid, child.pid]));
${LISTEN}
`;

before(async () => {
  await platform.start();
  const folder = writeApp(platform, 'calm', serverApp({ text: 'calm', app: 'calm' }));
  assert.equal((await platform.cli('deploy', folder)).code, 0);
});
after(() => platform.dispose());

describe('a program that', () => {
  test('ends at once without a fault is no healthy service', async () => {
    const result = await program('brief', "console.log('nothing to do');", ['rollout: { deadline: 8s }']);
    assert.equal(result.code, 1, result.stdout + result.stderr);
    assert.match(result.stderr, /exit code 0|code 0/u);
    assert.match(result.stderr, /nothing to do/u);
    await remove('brief');
  });

  test('ignores its stop signal is killed after its timeout', async () => {
    const code = `import { createServer } from 'node:http'; process.on('SIGTERM', () => console.log('I stay')); const answer = (q, s) => s.end('up'); ${LISTEN}`;
    assert.equal((await program('stubborn', code, ['stop: { timeout: 2s }', 'rollout: { drain: 0s }'])).code, 0);
    const [instance] = await instances('stubborn');
    const pid = instance?.pid ?? assert.fail('it runs');
    const began = performance.now();
    assert.equal((await platform.cli('stop', '-a', 'stubborn')).code, 0);
    await until('it is gone', 15_000, () => !isAlive(pid));
    assert.ok(performance.now() - began >= 2000, 'it had its time');
    const ended = await until('its end is told', 10_000, async () =>
      (await instances('stubborn', true)).find((item) => item.phase === 'stopped'),
    );
    assert.equal(ended.exit?.signal, 'SIGKILL');
    await remove('stubborn');
  });

  const leaves = async (name: string, code: string): Promise<void> => {
    assert.equal((await program(name, code, ['stop: { timeout: 2s }', 'rollout: { drain: 0s }'])).code, 0);
    const pids = JSON.parse((await platform.get(`${name}.localhost`)).body) as number[];
    assert.equal(pids.length, 2);
    assert.ok(pids.every(isAlive));
    assert.equal((await platform.cli('stop', '-a', name)).code, 0);
    await until('all of it is gone', 15_000, () => !pids.some(isAlive));
    await remove(name);
  };

  test('starts children in sessions of their own leaves none of them', async () => {
    await leaves('family', family("spawn('setsid', ['--fork', '--wait', 'sleep', '1000'], { detached: true, stdio: 'ignore' })"));
  });

  test('starts children without its environment leaves none of them', { skip: lacking('cgroup') }, async () => {
    await leaves('hidden', family("spawn('/bin/sleep', ['1000'], { detached: true, stdio: 'ignore', env: {} })"));
  });

  test('logs as fast as it can fills no disk, and all others are answered', async (t) => {
    const code = `
import { createServer } from 'node:http';
const line = 'x'.repeat(1023) + '\\n';
const block = line.repeat(256);
let until = 0;
let written = 0;
const flood = () => {
  if (Date.now() > until) return;
  written += block.length;
  if (process.stdout.write(block)) setImmediate(flood);
  else process.stdout.once('drain', flood);
};
const answer = (request, response) => {
  if (request.url === '/flood') { until = Date.now() + 4000; flood(); }
  response.end(JSON.stringify({ written, done: until > 0 && Date.now() > until }));
};
${LISTEN}
`;
    assert.equal((await program('flood', code)).code, 0);
    const [instance] = await instances('flood');
    assert.ok(instance);
    const logs = join(platform.data, 'node/instances', instance.id, 'logs');
    await platform.get('flood.localhost', '/flood');
    let largest = 0;
    const tookMs: number[] = [];
    const state = await until('the flood is over', 60_000, async () => {
      largest = Math.max(largest, bytesIn(logs));
      const began = performance.now();
      assert.equal((await platform.get('calm.localhost')).body, 'calm');
      await platform.client().system.status({});
      tookMs.push(performance.now() - began);
      const reply = JSON.parse((await platform.get('flood.localhost')).body) as { written: number; done: boolean };
      return reply.done ? reply : null;
    });
    tookMs.sort((a, b) => a - b);
    const [ninthMs = 0, slowestMs = 0] = [tookMs[Math.floor(tookMs.length * 0.9)], tookMs.at(-1)];
    t.diagnostic(`${Math.round(state.written / 4e6)} MB/s; at most ${largest} bytes kept; slowest answer ${Math.round(slowestMs)} ms`);
    assert.ok(state.written > 50e6, `${state.written} bytes were written`);
    assert.ok(largest < 16 * 1024 * 1024, `${largest} bytes of logs on the disk`);
    // One late answer among many is the load of the machine.
    assert.ok(ninthMs < 1_000 && slowestMs < 10_000, `answers took ${ninthMs} ms, at most ${slowestMs}`);
    const tail = await platform.cli('logs', '-a', 'flood', '--tail', '3', '--raw');
    assert.match(tail.stdout, /^x{1000}/u);
    assert.ok((await instances('flood')).every((item) => item.healthy && item.restarts === 0));
    await remove('flood');
  });

  test('fills its disk quota is stopped with that reason', async () => {
    const code = `
import { createServer } from 'node:http';
import { writeFileSync } from 'node:fs';
const answer = (request, response) => {
  if (request.url === '/fill') writeFileSync('data/filler', Buffer.alloc(16 * 1024 * 1024, 1));
  response.end('up');
};
${LISTEN}
`;
    assert.equal((await program('greedy', code, ['volumes: [{ name: data, path: /data, size: 8Mi }]'])).code, 0);
    await platform.get('greedy.localhost', '/fill');
    const found = await until('the reason is told', 45_000, async () =>
      (await instances('greedy', true)).find((item) => item.reason?.code === 'disk_quota'),
    );
    assert.match(found.reason?.message ?? '', /volume data: 16.* of at most 8/u);
    await until('it does not serve', 15_000, async () => (await instances('greedy', true)).every((item) => !item.healthy));
    const shown = await platform.cli('ps', '-a', 'greedy', '--all');
    assert.match(shown.stdout + shown.stderr, /It filled the volume data/u);
    await remove('greedy');
  });

  test('allocates beyond its memory is ended and started again with that reason', { skip: lacking('cgroup') }, async () => {
    const code = `
import { createServer } from 'node:http';
const hog = [];
const answer = (request, response) => {
  if (request.url === '/hog') setInterval(() => hog.push(Buffer.alloc(16 * 1024 * 1024, 1)), 5);
  response.end('up');
};
${LISTEN}
`;
    assert.equal((await program('hungry', code, ['health: { http: /, interval: 1s }'])).code, 0);
    await platform.get('hungry.localhost', '/hog').catch(() => undefined);
    let told = '';
    const again = await until('it runs again', 40_000, async () => {
      const [instance] = await instances('hungry');
      if (instance?.reason?.code === 'out_of_memory') told = instance.reason.message;
      return instance?.healthy === true && instance.restarts > 0 ? instance : null;
    });
    assert.equal(again.restarts, 1);
    assert.match(told, /memory/iu);
    await remove('hungry');
  });

  test('wants a port that somebody else has fails with its number and holder', async () => {
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = holder.address() as AddressInfo; // listening on TCP
      const code = `import { createServer } from 'node:http'; createServer((q, s) => s.end('up')).listen(${port}, '127.0.0.1');`;
      const result = await program('pinned', code, [`port: ${port}`, 'rollout: { deadline: 6s }']);
      assert.equal(result.code, 1, result.stdout + result.stderr);
      assert.match(result.stderr, new RegExp(`port ${port} is in use by .*${process.pid}`, 'iu'), 'the holder is named');
    } finally {
      holder.close();
    }
    await remove('pinned');
  });

  test('keeps ending is a crash loop that libra ps shows', async () => {
    const code = `
import { createServer } from 'node:http';
import { existsSync, writeFileSync } from 'node:fs';
if (existsSync('data/broken')) { console.error('the ledger is broken'); process.exit(9); }
const answer = (request, response) => {
  response.end('up');
  if (request.url === '/break') { writeFileSync('data/broken', ''); process.exit(9); }
};
${LISTEN}
`;
    assert.equal((await program('loop', code, ['volumes: [{ name: data, path: /data, size: 8Mi }]'])).code, 0);
    await platform.get('loop.localhost', '/break').catch(() => undefined);
    const shown = await until('it is shown', 30_000, async () => {
      const result = await platform.cli('ps', '-a', 'loop');
      return result.stdout.includes('(crash loop)') ? result : null;
    });
    assert.match(shown.stdout + shown.stderr, /code 9/u);
    const [instance] = await instances('loop');
    assert.ok((instance?.restarts ?? 0) >= 2);
    assert.match(instance?.reason?.lastLines.join('\n') ?? '', /the ledger is broken/u);
    assert.equal((await platform.get('loop.localhost')).status, 503);
    await remove('loop');
  });
});

describe('a platform without rights', { skip: lacking('root', 'setpriv', 'readable') }, () => {
  const UID = 54_321;
  const folder = mkdtempSync(join(tmpdir(), 'libra-unprivileged-'));
  const launcher = join(folder, 'libra');
  let plain: Platform;
  before(async () => {
    writeFileSync(
      launcher,
      `#!/usr/bin/env node
process.execve('/usr/bin/setpriv', ['setpriv', '--reuid=${UID}', '--regid=${UID}', '--clear-groups', ${JSON.stringify(join(root, 'bin/libra'))}, ...process.argv.slice(2)], process.env);
`,
      { mode: 0o755 },
    );
    chmodSync(folder, 0o755);
    const data = join(folder, 'data');
    mkdirSync(data);
    chownSync(data, UID, UID);
    plain = new Platform({ data, program: launcher });
    await plain.start();
  });
  after(async () => {
    await plain.dispose();
    rmSync(folder, { recursive: true });
  });

  test('leaves no children of a program that changed their session, and tells what is not enforced', async () => {
    const code = family("spawn('setsid', ['--fork', '--wait', 'sleep', '1000'], { detached: true, stdio: 'ignore' })");
    const source = writeApp(plain, 'family', {
      'libra.yaml': 'app: family\nentrypoints:\n  web: { command: node main.mjs, stop: { timeout: 2s } }\n',
      'main.mjs': code,
    });
    const result = await plain.cli('deploy', source);
    assert.equal(result.code, 0, result.stdout + result.stderr);
    const pids = JSON.parse((await plain.get('family.localhost')).body) as number[];
    assert.ok(pids.length === 2 && pids.every(isAlive));
    assert.equal(statSync(`/proc/${pids[0] ?? 0}`).uid, UID);
    assert.match((await plain.cli('ps', '-a', 'family')).stderr, /user not enforced/u);
    assert.equal((await plain.cli('stop', '-a', 'family')).code, 0);
    await until('all of it is gone', 20_000, () => !pids.some(isAlive));
  });
});

describe('a one-off that ends unseen', () => {
  test('is unknown, is never run again, and fails its Deployment', async () => {
    const params = { app: 'calm', environment: 'production' };
    const folder = writeApp(platform, 'calm', {
      ...serverApp({ text: 'changed', app: 'calm' }),
      'libra.yaml': `app: calm
entrypoints:
  web: { command: node server.mjs, health: { http: /healthz }, resources: { cpu: 0.2, memory: 128Mi } }
  migrate: { command: node migrate.mjs, run: before-deploy, resources: { cpu: 0.1, memory: 128Mi } }
`,
      'migrate.mjs': "console.log('half way'); setInterval(() => {}, 1000);",
    });
    const deploying = platform.cli('deploy', folder);
    const oneOff = await until('the one-off runs', 20_000, async () => {
      const found = (await instances('calm', true)).find((item) => item.role === 'before-deploy');
      return found?.pid === null || found?.phase !== 'running' ? null : found;
    });
    const keeper = platform.processes().find(({ command }) => / keeper /u.test(command)) ?? assert.fail('there is a keeper');
    await platform.kill();
    process.kill(keeper.pid, 'SIGKILL');
    process.kill(oneOff.pid ?? assert.fail('it has a process'), 'SIGKILL');
    await until('both are gone', 10_000, () => !isAlive(keeper.pid) && !isAlive(oneOff.pid ?? 0));
    await platform.start();
    const ended = await until('the Deployment ends', 30_000, async () => {
      const view = await platform.client().deployments.get({ params: { ...params, deployment: '2' } });
      return view.endedAtMs === null ? null : view;
    });
    assert.equal(ended.phase, 'failed');
    assert.match(JSON.stringify(ended.reason), /outcome_unknown|before_deploy_failed/u);
    assert.match(JSON.stringify(ended.reason), /nobody/iu);
    const runs = (await instances('calm', true)).filter((item) => item.role === 'before-deploy');
    assert.deepEqual(
      runs.map((item) => [item.id, item.phase]),
      [[oneOff.id, 'unknown']],
    );
    await until('the old version serves', 15_000, async () => (await platform.get('calm.localhost')).body === 'calm');
    const { code, stderr } = await deploying;
    assert.ok(code === 1 || code === 6, `${code}: ${stderr}`);
  });
});
