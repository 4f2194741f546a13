// Requests per second and per second of CPU through the Edge, against no proxy at all and against nginx where it is installed. Each part
// runs in a process of its own: two cores are enough to compare, not to brag.
// Run: node bench/edge.ts [--json]

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RouteTable } from '../src/api/dataplane.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/sys/log.ts';
import { createEdge } from '../src/edge/edge.ts';
import { runBench } from './report.ts';
import type { Figure, Report } from './report.ts';

const HOST = 'bench.localhost';
const CONNECTIONS = 32;
const SECONDS = 2;
/** A Linux clock tick: USER_HZ, 100 on every architecture that we run on. */
const TICK_MS = 10;

interface Result {
  readonly name: string;
  readonly perSecond: number;
  readonly cpuMicrosPerRequest: number | null;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly failures: number;
}

/** User and system time of a process so far, milliseconds. */
async function cpuMs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

function portOf(server: net.Server): number {
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('the server has no port');
  return address.port;
}

/** The App: a fixed answer of 1 KiB, written by hand so that it costs little beside what is measured. */
async function runApp(): Promise<void> {
  const body = 'x'.repeat(1024);
  const answer = Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  const server = net.createServer({ noDelay: true }, (socket) => {
    let tail = '';
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      const text = tail + chunk.toString('latin1');
      const parts = text.split('\r\n\r\n');
      tail = parts.pop() ?? '';
      for (let index = 0; index < parts.length; index += 1) socket.write(answer);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  process.stdout.write(`${portOf(server)}\n`);
}

/** The Edge with one Route to the App. */
async function runEdge(appPort: number, folder: string): Promise<void> {
  const target = {
    instanceId: 'i',
    deploymentId: 'd',
    nodeId: 'n',
    host: '127.0.0.1',
    port: appPort,
    state: 'active',
    drainUntilMs: null,
  } as const;
  const table: RouteTable = {
    rules: [{ host: HOST, path: '/', headers: {}, group: 'g' }],
    groups: [{ id: 'g', app: 'bench', environment: 'production', entrypoint: 'web', state: 'serving', targets: [target] }],
  };
  const edge = createEdge({
    edgeId: 'bench',
    version: 'bench',
    listen: [{ host: '127.0.0.1', port: 0 }],
    link: {
      sync: async function* (signal) {
        yield { type: 'snapshot', sequence: 1, table } as const;
        await systemClock.sleep(3_600_000, signal);
      },
      report: () => Promise.resolve(),
      tell: () => Promise.resolve(false),
    },
    tableFile: join(folder, 'table.json'),
    accessLog: { file: join(folder, 'access.log'), fileBytes: 64 * 1024 * 1024 },
    clock: systemClock,
    log: silentLog,
  });
  await edge.start();
  while (edge.table() === null) await systemClock.sleep(5);
  process.stdout.write(`${edge.addresses()[0]?.port ?? 0}\n`);
}

/** Starts this file again in a role; resolves with the port that it prints. */
async function startRole(words: readonly string[]): Promise<{ readonly child: ChildProcess; readonly port: number }> {
  const child = spawn(process.execPath, [import.meta.filename, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(child.stdout, 'data')) as [Buffer]; // a stream without an encoding gives buffers
  return { child, port: Number(String(line).trim()) };
}

async function startNginx(
  appPort: number,
  folder: string,
): Promise<{ readonly child: ChildProcess; readonly port: number; readonly worker: number } | null> {
  const probe = net.createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const port = portOf(probe);
  probe.close();
  await once(probe, 'close');
  const config = join(folder, 'nginx.conf');
  await writeFile(
    config,
    `worker_processes 1; daemon off; pid ${folder}/nginx.pid; error_log ${folder}/error.log;
events { worker_connections 1024; }
http { access_log ${folder}/nginx-access.log; client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f;
uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s; keepalive_requests 10000000;
upstream app { server 127.0.0.1:${appPort}; keepalive 64; keepalive_requests 10000000; }
server { listen 127.0.0.1:${port}; location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; } } }`,
  );
  const child = spawn('nginx', ['-c', config, '-p', folder], { stdio: 'ignore' });
  const failed = await Promise.race([once(child, 'error').then(() => true), systemClock.sleep(500).then(() => child.exitCode !== null)]);
  if (failed) return null;
  const children = await readFile(`/proc/${child.pid ?? 0}/task/${child.pid ?? 0}/children`, 'utf8');
  return { child, port, worker: Number(children.trim().split(' ')[0]) };
}

/** Keeps `CONNECTIONS` connections busy. */
async function load(name: string, port: number, pid: number | null): Promise<Result> {
  const request = Buffer.from(`GET /path HTTP/1.1\r\nHost: ${HOST}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n`);
  const durations: number[] = [];
  let failures = 0;
  let measuring = false;
  let stopped = false;
  const lane = (): Promise<void> =>
    new Promise((resolve) => {
      const socket = net.connect({ host: '127.0.0.1', port, noDelay: true });
      let beganMs = 0;
      let seen = '';
      const next = (): void => {
        seen = '';
        beganMs = performance.now();
        socket.write(request);
      };
      socket.on('connect', next);
      socket.on('data', (chunk) => {
        seen += chunk.toString('latin1');
        const head = seen.indexOf('\r\n\r\n');
        if (head === -1 || seen.length < head + 4 + 1024) return;
        if (!seen.startsWith('HTTP/1.1 200')) failures += 1;
        if (measuring) durations.push(performance.now() - beganMs);
        if (stopped) socket.destroy();
        else next();
      });
      socket.on('error', () => (failures += 1));
      socket.on('close', () => resolve());
    });
  const lanes = Array.from({ length: CONNECTIONS }, lane);
  await systemClock.sleep(500);
  const cpuBefore = pid === null ? 0 : await cpuMs(pid);
  measuring = true;
  const beganMs = performance.now();
  await systemClock.sleep(SECONDS * 1000);
  measuring = false;
  const elapsedMs = performance.now() - beganMs;
  const cpuAfter = pid === null ? 0 : await cpuMs(pid);
  stopped = true;
  await Promise.all(lanes);
  durations.sort((a, b) => a - b);
  const at = (share: number): number => durations[Math.floor(durations.length * share)] ?? 0;
  return {
    name,
    perSecond: durations.length / (elapsedMs / 1000),
    cpuMicrosPerRequest: pid === null ? null : ((cpuAfter - cpuBefore) * 1000) / durations.length,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    failures,
  };
}

function figuresOf(result: Result): readonly Figure[] {
  return [
    { name: `${result.name}: requests`, value: result.perSecond, unit: '/s' },
    ...(result.cpuMicrosPerRequest === null
      ? []
      : [{ name: `${result.name}: CPU a request`, value: result.cpuMicrosPerRequest, unit: 'µs' }]),
    { name: `${result.name}: median`, value: result.p50Ms, unit: 'ms' },
    { name: `${result.name}: slowest hundredth from`, value: result.p99Ms, unit: 'ms' },
    { name: `${result.name}: failures`, value: result.failures, unit: '', target: 0 },
  ];
}

async function main(): Promise<Report> {
  const folder = await mkdtemp(join(tmpdir(), 'libra-bench-edge-'));
  const started: ChildProcess[] = [];
  try {
    const app = await startRole(['app']);
    started.push(app.child);
    const edge = await startRole(['edge', String(app.port), folder]);
    started.push(edge.child);
    const nginx = await startNginx(app.port, folder);
    if (nginx !== null) started.push(nginx.child);
    const results = [await load('direct', app.port, null), await load('edge', edge.port, edge.child.pid ?? 0)];
    if (nginx !== null) results.push(await load('nginx', nginx.port, nginx.worker));
    return {
      bench: `Edge: ${CONNECTIONS} keep-alive connections, 1 KiB answers, access log and metrics on, ${SECONDS} s each`,
      figures: results.flatMap(figuresOf),
    };
  } finally {
    for (const child of started) child.kill('SIGTERM');
    await Promise.all(started.filter((child) => child.exitCode === null && child.signalCode === null).map((child) => once(child, 'exit')));
    await rm(folder, { recursive: true, force: true });
  }
}

const [role, ...words] = process.argv.slice(2);
if (role === 'app') await runApp();
else if (role === 'edge') await runEdge(Number(words[0]), words[1] ?? '');
else await runBench(main);
