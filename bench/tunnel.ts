// What it costs that a program runs on a laptop: the same server as a deployed Instance, behind `libra dev`, and behind `ssh -R` where
// there is an sshd, in turn in one run on loopback. Added time of a small request, and bytes per second down and up on one connection.
// Run: node bench/tunnel.ts [--json] [--check] [--quick]. LIBRA_BENCH_SSHD names an sshd that is not in /usr/sbin.

import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startLibraDev } from '../test/fixtures/laptop.ts';
import { writeApp } from '../test/fixtures/app-folder.ts';
import { Platform, until } from '../test/platform.ts';
import { freePorts } from './edge/program.ts';
import { median, quantile, runBench } from './report.ts';
import type { Figure } from './report.ts';

const quick = process.argv.includes('--quick');
const REQUESTS = quick ? 500 : 3_000;
const MIB = 2 ** 20;
const BODY_BYTES = (quick ? 64 : 256) * MIB;
const ROUNDS = quick ? 3 : 5;
const TARGET_ADDED_MS = 1.5;
const ORDINARY_UID = 1_000;
const SSHD = process.env['LIBRA_BENCH_SSHD'] ?? '/usr/sbin/sshd';

const SERVER = `import http from 'node:http';
const piece = Buffer.alloc(65536, 'x');
http.createServer((request, response) => {
  const bytes = Number(new URL(request.url, 'http://x').searchParams.get('bytes') ?? 0);
  if (request.method === 'POST') {
    let taken = 0;
    request.on('data', (chunk) => (taken += chunk.length));
    return request.on('end', () => response.end(String(taken)));
  }
  if (bytes === 0) return response.end('ok');
  response.writeHead(200, { 'content-length': bytes });
  let sent = 0;
  const more = () => {
    while (sent < bytes) {
      const part = piece.subarray(0, Math.min(piece.length, bytes - sent));
      sent += part.length;
      if (!response.write(part)) return;
    }
    response.end();
  };
  response.on('drain', more);
  more();
}).listen(Number(process.env.PORT), '127.0.0.1');
`;

interface Way {
  readonly name: 'instance' | 'libra dev' | 'ssh -R' | 'direct';
  readonly port: number;
  readonly host: string;
}

function ask(way: Way, path: string, agent: http.Agent, sentBytes = 0): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        host: '127.0.0.1',
        port: way.port,
        path,
        method: sentBytes > 0 ? 'POST' : 'GET',
        headers: { host: way.host, ...(sentBytes > 0 ? { 'content-length': sentBytes } : {}) },
        agent,
      },
      (response) => {
        let bytes = 0;
        response.on('data', (chunk: Buffer) => (bytes += chunk.length));
        response.on('error', reject);
        response.on('end', () =>
          response.statusCode === 200 ? resolve(bytes) : reject(new Error(`${way.name} answered ${response.statusCode ?? 0}`)),
        );
      },
    );
    request.on('error', reject);
    if (sentBytes === 0) return void request.end();
    const piece = Buffer.alloc(65_536, 'x');
    let left = sentBytes;
    const more = (): void => {
      while (left > 0) {
        const part = piece.subarray(0, Math.min(left, piece.length));
        left -= part.length;
        if (!request.write(part)) return;
      }
      request.end();
    };
    request.on('drain', more);
    more();
  });
}

async function latencies(way: Way, count: number): Promise<readonly number[]> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const taken: number[] = [];
  for (let index = 0; index < count; index += 1) {
    const beganMs = performance.now();
    await ask(way, '/', agent);
    taken.push(performance.now() - beganMs);
  }
  agent.destroy();
  return taken;
}

async function mibPerSecond(way: Way, direction: 'down' | 'up'): Promise<number> {
  const agent = new http.Agent({ keepAlive: false });
  const beganMs = performance.now();
  if (direction === 'down') await ask(way, `/?bytes=${BODY_BYTES}`, agent);
  else await ask(way, '/', agent, BODY_BYTES);
  agent.destroy();
  return BODY_BYTES / MIB / ((performance.now() - beganMs) / 1000);
}

interface Running {
  readonly port: number;
  stop(): void;
}

/** `ssh -R` to an sshd of this run, as an ordinary user with a key of its own; null: there is none. */
async function startSsh(folder: string, to: number): Promise<Running | null> {
  if (!existsSync(SSHD)) return null;
  const [sshdPort = 0, port = 0] = await freePorts(2);
  const isRoot = process.getuid?.() === 0;
  // Root's sshd needs a user of its own; one of an ordinary user needs nothing.
  const uid = isRoot ? ORDINARY_UID : (process.getuid?.() ?? 0);
  const login = spawnSync('id', ['-un', String(uid)], { encoding: 'utf8' }).stdout.trim();
  if (login === '') return null;
  const own = join(folder, 'ssh');
  mkdirSync(own, { mode: 0o700 });
  for (const name of ['host', 'user']) spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(own, name)]);
  writeFileSync(join(own, 'authorized'), readFileSync(join(own, 'user.pub')), { mode: 0o600 });
  writeFileSync(
    join(own, 'sshd_config'),
    `ListenAddress 127.0.0.1\nPort ${sshdPort}\nHostKey ${join(own, 'host')}\nAuthorizedKeysFile ${join(own, 'authorized')}\nStrictModes no\nUsePAM no\nPidFile none\n`,
  );
  if (isRoot) {
    chmodSync(folder, 0o711);
    for (const path of [own, ...['host', 'user', 'user.pub', 'authorized', 'sshd_config'].map((name) => join(own, name))])
      chownSync(path, uid, uid);
  }
  const serve = [SSHD, '-D', '-e', '-f', join(own, 'sshd_config')] as const;
  const [program, ...words] = isRoot
    ? (['setpriv', '--reuid', String(uid), '--regid', String(uid), '--clear-groups', ...serve] as const)
    : serve;
  const sshd = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  sshd.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await until('sshd listens', 10_000, () => said.includes('listening'));
  const options = [
    'StrictHostKeyChecking=no',
    'UserKnownHostsFile=/dev/null',
    'ExitOnForwardFailure=yes',
    'LogLevel=ERROR',
    'Compression=no',
  ];
  const ssh = spawn(
    'ssh',
    [
      ...options.flatMap((option) => ['-o', option]),
      '-N',
      '-F',
      'none',
      '-i',
      join(own, 'user'),
      '-p',
      String(sshdPort),
      '-R',
      `127.0.0.1:${port}:127.0.0.1:${to}`,
      `${login}@127.0.0.1`,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  ssh.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  const stop = (): void => {
    ssh.kill('SIGKILL');
    sshd.kill('SIGKILL');
  };
  const way: Way = { name: 'ssh -R', port, host: 'localhost' };
  try {
    await until('ssh -R answers', 10_000, async () => (await ask(way, '/', new http.Agent())) > 0);
  } catch {
    stop();
    console.error(`ssh -R is left out: ${said.trim().split('\n').slice(-3).join(' | ')}`);
    return null;
  }
  return { port, stop };
}

await runBench(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'libra-bench-tunnel-'));
  const platform = new Platform();
  const stops: (() => unknown)[] = [];
  try {
    await platform.start();
    const app = writeApp(platform, 'shop', {
      'libra.yaml': 'app: shop\nentrypoints:\n  web: { command: node server.mjs, resources: { cpu: 2, memory: 256Mi } }\n',
      'server.mjs': SERVER,
    });
    const deployed = await platform.cliIn(app, 'deploy', '-e', 'dev');
    if (deployed.code !== 0) throw new Error(deployed.stderr);
    const [local = 0] = await freePorts(1);
    const server = spawn(process.execPath, [join(app, 'server.mjs')], { env: { PORT: String(local) }, stdio: 'ignore' });
    stops.push(() => server.kill('SIGKILL'));
    const direct: Way = { name: 'direct', port: local, host: 'localhost' };
    await until('the server answers', 10_000, async () => (await ask(direct, '/', new http.Agent())) > 0);
    const dev = startLibraDev(platform, app, ['--port', String(local), '--key', 'ana']);
    stops.push(() => dev.stop());
    await dev.connected;
    const ways: Way[] = [
      direct,
      { name: 'instance', port: platform.edgePort, host: 'shop--dev.localhost' },
      { name: 'libra dev', port: platform.edgePort, host: 'ana--shop--dev.localhost' },
    ];
    await until('the laptop is in force', 10_000, async () => (await ask(ways[2] ?? direct, '/', new http.Agent())) > 0);
    const ssh = await startSsh(folder, local);
    if (ssh === null) console.error('There is no sshd to compare with: apt-get install openssh-server, or name one in LIBRA_BENCH_SSHD.');
    else {
      stops.push(() => ssh.stop());
      ways.push({ name: 'ssh -R', port: ssh.port, host: 'localhost' });
    }
    const times = new Map<string, number[]>();
    const rates = new Map<string, number[]>();
    const add = (map: Map<string, number[]>, name: string, ...values: readonly number[]): void =>
      void map.set(name, [...(map.get(name) ?? []), ...values]);
    for (const way of ways) await latencies(way, 200);
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const way of ways) {
        add(times, way.name, ...(await latencies(way, REQUESTS / ROUNDS)));
        for (const direction of ['down', 'up'] as const) add(rates, `${way.name} ${direction}`, await mibPerSecond(way, direction));
      }
    }
    const timeOf = (name: string, share: number): number => quantile(times.get(name) ?? [], share);
    const rateOf = (name: string): number => median(rates.get(name) ?? []);
    const figures: Figure[] = [
      { name: 'libra dev: added p50', value: timeOf('libra dev', 0.5) - timeOf('instance', 0.5), unit: 'ms', target: TARGET_ADDED_MS },
      { name: 'libra dev: added p99', value: timeOf('libra dev', 0.99) - timeOf('instance', 0.99), unit: 'ms' },
      ...ways.flatMap(({ name }) => [
        { name: `${name}: p50`, value: timeOf(name, 0.5), unit: 'ms' },
        { name: `${name}: down`, value: rateOf(`${name} down`), unit: 'MiB/s' },
        { name: `${name}: up`, value: rateOf(`${name} up`), unit: 'MiB/s' },
      ]),
    ];
    if (ssh !== null) {
      figures.push({ name: 'ssh -R: added p50', value: timeOf('ssh -R', 0.5) - timeOf('direct', 0.5), unit: 'ms' });
      for (const direction of ['down', 'up'])
        figures.push({
          name: `libra dev to ssh -R, ${direction}`,
          value: rateOf(`libra dev ${direction}`) / rateOf(`ssh -R ${direction}`),
          unit: '×',
          least: 1,
        });
    }
    return { bench: 'tunnel', figures };
  } finally {
    for (const stop of stops.reverse()) await stop();
    await platform.dispose();
    rmSync(folder, { recursive: true, force: true });
  }
});
