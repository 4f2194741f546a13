// What a newcomer does: a fresh checkout, an empty home, the system's npm, `npm start`, Ctrl-C, `npm start` again, `npm test`. As a user
// without privileges and as root; what is printed is asserted line by line.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, chmodSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { processesNaming } from '../fixtures/processes.ts';
import { root, until } from '../platform.ts';
import { lacking } from '../requirements.ts';

const NOBODY = 65_534;
const asRoot = process.getuid?.() === 0;
const skip = lacking('npm');
const INSTALL_MS = 240_000;

let folder = '';
let checkout = '';

/** Nothing but what a login shell has: the system's programs, a home, and how this machine reaches its registry. */
function plainEnv(home: string): Record<string, string> {
  const env: Record<string, string> = {
    PATH: (process.env['PATH'] ?? '')
      .split(':')
      .filter((part) => !part.includes('node_modules'))
      .join(':'),
    HOME: home,
    npm_config_registry: execFileSync('npm', ['config', 'get', 'registry', '--loglevel=error'], { encoding: 'utf8', cwd: tmpdir() }).trim(),
    LIBRA_API_PORT: '0',
    LIBRA_EDGE_PORT: '0',
    LIBRA_EDGE_TLS_PORT: '0',
    LIBRA_APIPROXY_PORT: '0',
  };
  for (const [name, value] of Object.entries(process.env))
    if (/^(?:https?_proxy|no_proxy|NODE_EXTRA_CA_CERTS)$/iu.test(name) && value !== undefined) env[name] = value;
  return env;
}

interface Person {
  readonly uid: number | undefined;
  readonly home: string;
  readonly data: string;
  readonly env: Record<string, string>;
}

function person(name: string, uid: number | undefined): Person {
  const home = join(folder, name);
  mkdirSync(home);
  if (uid !== undefined) chownSync(home, uid, uid);
  return { uid, home, data: join(home, '.libra'), env: { ...plainEnv(home), LIBRA_DATA: join(home, '.libra') } };
}

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(who: Person, command: string, words: readonly string[]) {
  const ids = who.uid === undefined ? {} : { uid: who.uid, gid: who.uid };
  // A process group of its own, as a terminal makes for each command.
  const child = spawn(command, words, { cwd: checkout, env: who.env, detached: true, stdio: ['ignore', 'pipe', 'pipe'], ...ids });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString('utf8')));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString('utf8')));
  const ended = new Promise<Run>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
  return { ended, said: () => stdout + stderr, group: -(child.pid ?? 0) };
}

async function run(who: Person, command: string, ...words: readonly string[]): Promise<Run> {
  return await start(who, command, words).ended;
}

function answer(url: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const call = request({ host: '127.0.0.1', port, headers: { host: hostname }, agent: false, timeout: 5000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => resolve(`${response.statusCode} ${text}`));
    });
    call.on('error', reject).end();
  });
}

interface Session extends Run {
  /** From the command to the answer of hello. */
  readonly readyMs: number;
  readonly answered: string;
}

/** `npm start`, an answer of hello, `meanwhile`, Ctrl-C as a terminal sends it: to every process of the group. */
async function session(who: Person, deadlineMs: number, meanwhile: () => Promise<void> = async () => undefined): Promise<Session> {
  const began = performance.now();
  const running = start(who, 'npm', ['start']);
  try {
    const url = await until('npm start has printed the address of hello', deadlineMs, () => {
      // The line goes on after the address when the App was there before.
      return /^ {2}hello (http:\S+)/mu.exec(running.said())?.[1];
    });
    const answered = await answer(url);
    const readyMs = performance.now() - began;
    await until('npm start says how to stop', 5000, () => running.said().includes('Ctrl-C'));
    await meanwhile();
    process.kill(running.group, 'SIGINT');
    return { ...(await running.ended), readyMs, answered };
  } catch (error) {
    process.kill(running.group, 'SIGKILL');
    throw new Error(`npm start said: ${running.said()}`, { cause: error });
  }
}

/** Lines with what differs from run to run replaced. */
function shape(text: string): readonly string[] {
  return text
    .trim()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) =>
      line
        .replaceAll(/127\.0\.0\.1:\d+|localhost:\d+/gu, 'HOST')
        .replaceAll(/\d+\.\d s\b/gu, 'TIME')
        .replaceAll(/(?<=\S) {2,}/gu, ' '),
    );
}

const STOPPING = 'Stopping … Ctrl-C again leaves at once; what still runs is taken up at the next start.';
const banner = ['> @libra-platform/libra@0.1.0 start', '> node scripts/setup.mjs && exec ./bin/libra up --example'];
const up = [...banner, 'Libra 0.1.0 is up (TIME).', '  API http://HOST', '  Apps http://<app>.HOST'];

async function assertNothingLeft(who: Person): Promise<void> {
  await until('no process is left', 10_000, () => processesNaming(who.data).length === 0);
}

before(() => {
  if (skip !== false) return;
  folder = mkdtempSync(join(tmpdir(), 'libra-first-'));
  chmodSync(folder, 0o755);
  checkout = join(folder, 'checkout');
  const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' });
  for (const file of files.split('\0').filter((name) => name !== '' && existsSync(join(root, name)))) {
    mkdirSync(dirname(join(checkout, file)), { recursive: true });
    cpSync(join(root, file), join(checkout, file));
  }
  if (asRoot) execFileSync('chown', ['-R', `${NOBODY}:${NOBODY}`, checkout]);
});

after(() => {
  // What a failed test left behind ends with it.
  for (const { pid } of folder === '' ? [] : processesNaming(folder)) process.kill(pid, 'SIGKILL');
  if (folder !== '') rmSync(folder, { recursive: true, force: true });
});

let newcomer: Person | null = null;

test('a newcomer without privileges starts from nothing with npm start, and again', { skip }, async (t) => {
  const who = (newcomer = person('newcomer', asRoot ? NOBODY : undefined));
  const cold = await session(who, INSTALL_MS, async () => {
    const shown = await run(who, 'bin/libra', 'ps', '-a', 'hello', '--json');
    assert.equal(shown.code, 0, shown.stderr);
    const [instance] = JSON.parse(shown.stdout);
    for (const limit of ['memory limit', 'cpu limit', 'user'])
      assert.ok(
        instance.notEnforced.some((one: string) => one.startsWith(`${limit} not enforced: `)),
        shown.stdout,
      );
  });
  t.diagnostic(`cold start with installation: ${(cold.readyMs / 1000).toFixed(1)} s`);
  assert.equal(cold.answered, '200 Hello from Libra! Release 1, slot 0.\n');
  assert.equal(cold.code, 0);
  assert.deepEqual(shape(cold.stdout), [...up, '  hello http://hello.HOST']);
  assert.deepEqual(shape(cold.stderr), [
    'Installing dependencies (once, about ten seconds) …',
    'Ctrl-C stops the platform.',
    STOPPING,
    'Stopped.',
  ]);
  await assertNothingLeft(who);

  const warm = [await session(who, 30_000), await session(who, 30_000)];
  for (const again of warm) {
    assert.equal(again.answered, '200 Hello from Libra! Release 1, slot 0.\n');
    assert.equal(again.code, 0);
    assert.deepEqual(shape(again.stdout), [...up, '  hello http://hello.HOST (healthy)']);
    assert.deepEqual(shape(again.stderr), ['Ctrl-C stops the platform.', STOPPING, 'Stopped.']);
  }
  await assertNothingLeft(who);
  const readyMs = Math.min(...warm.map((again) => again.readyMs));
  t.diagnostic(`second start: ${(readyMs / 1000).toFixed(1)} s`);
});

test('a SIGTERM to npm alone ends the whole platform too', { skip }, async () => {
  const who = newcomer ?? person('newcomer', asRoot ? NOBODY : undefined);
  const running = start(who, 'npm', ['start']);
  await until('npm start says how to stop', INSTALL_MS, () => running.said().includes('Ctrl-C'));
  process.kill(-running.group, 'SIGTERM');
  await running.ended;
  await assertNothingLeft(who);
});

test('root starts it in the same way, and its Apps are no root', { skip: skip === false ? lacking('root') : skip }, async () => {
  const who = person('root', undefined);
  const first = await session(who, INSTALL_MS, async () => {
    const shown = await run(who, 'bin/libra', 'ps', '-a', 'hello', '--json');
    assert.equal(shown.code, 0, shown.stderr);
    const [instance] = JSON.parse(shown.stdout);
    const { uid } = statSync(`/proc/${instance.pid}`);
    assert.ok(uid >= 1000, `the App runs as ${uid}`);
  });
  assert.equal(first.answered, '200 Hello from Libra! Release 1, slot 0.\n');
  assert.equal(first.code, 0);
  await assertNothingLeft(who);
});

test('npm test runs there, lists what it skips and why, and fails where nothing ran', { skip }, async () => {
  const who = newcomer ?? person('newcomer', asRoot ? NOBODY : undefined);
  const some = await run(who, 'npm', 'test', '--', 'src/lib/sse.test.ts', 'test/requirements.test.ts');
  assert.equal(some.code, 0, some.stdout);
  assert.match(some.stdout, /pass [1-9]/u);
  if (who.uid !== undefined || !asRoot)
    assert.match(
      some.stdout,
      /Skipped, because this machine lacks something[^]*test\/requirements\.test\.ts: .*\n {4}needs root: run as root/u,
    );
  const none = await run(who, 'npm', 'test', '--', 'src/nothing/*.test.ts');
  assert.equal(none.code, 1);
  assert.match(none.stderr, /No test file matches src\/nothing\/\*\.test\.ts\./u);
  const required = await run({ ...who, env: { ...who.env, LIBRA_TEST_REQUIRE: 'root' } }, 'npm', 'test', '--', 'test/requirements.test.ts');
  assert.equal(required.code, asRoot && who.uid === undefined ? 0 : 1, required.stdout);
  assert.ok(readFileSync(join(checkout, 'node_modules/.libra-installed'), 'utf8') !== '');
});
