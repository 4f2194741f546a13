// What the API Proxy adds to a call between two Apps, beside HAProxy, which knows nobody and asks nothing: at half of the rate that the API
// Proxy can do, and directly, in turn. The API Proxy verifies the caller's token, asks both sides' rules, counts, and writes its line.
// Run: node bench/apiproxy.ts [--json] [--quick] [--check]

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { RouteTable } from '../src/api/dataplane.ts';
import { systemClock } from '../src/lib/clock.ts';
import { newId } from '../src/lib/id.ts';
import type { DataPlaneFile } from '../src/roles/data-plane-process.ts';
import { programArgv, programEnv } from '../src/roles/program.ts';
import { signInstanceToken } from '../src/tunnel/instance-token.ts';
import { makeAuthority } from '../test/fixtures/certificate.ts';
import { buildLibra, groupOf, PROGRAM } from './edge/libra.ts';
import { wrk } from './edge/load.ts';
import { freePorts, LOAD_CORE, pinned, PROXY_CORE, startProgram } from './edge/program.ts';
import type { Program } from './edge/program.ts';
import { folderOf, startHaproxy } from './edge/proxies.ts';
import { startUpstream, writeBenchCertificate } from './edge/setting.ts';
import type { Setting } from './edge/setting.ts';
import { median, runBench } from './report.ts';
import type { Report } from './report.ts';

const quick = process.argv.includes('--quick');
const ROUNDS = quick ? 3 : 7;
const SECONDS = quick ? 2 : 5;
const CONNECTIONS = 32;
const PEAK_CONNECTIONS = 64;

interface Way {
  readonly name: string;
  readonly port: number;
  readonly path: string;
  readonly headers: readonly string[];
}

interface Latency {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly failed: number;
}

const run = promisify(execFile);
const child = fileURLToPath(new URL('edge/paced-child.ts', import.meta.url));

async function paced({ port, path, headers }: Way, perSecond: number, seconds: number): Promise<Latency> {
  const words = [String(port), path, String(perSecond), String(seconds), String(CONNECTIONS), JSON.stringify(headers)];
  const [command = '', ...argv] = pinned(LOAD_CORE, [process.execPath, '--disable-warning=ExperimentalWarning', child, ...words]);
  const { stdout } = await run(command, argv, { timeout: (seconds + 30) * 1000 });
  const latency = JSON.parse(stdout) as Latency; // printed by our own child
  if (latency.failed > 0) throw new Error(`${latency.failed} answers on port ${port} were not what they should be`);
  return latency;
}

async function startApiProxy(setting: Setting): Promise<{ readonly program: Program; readonly way: Way }> {
  const folder = folderOf(setting, 'apiproxy');
  const [port = 0] = await freePorts(1);
  const authority = makeAuthority();
  const node = authority.issueMachine(newId());
  const instanceId = newId();
  const identityFile = join(folder, 'identity.json');
  writeFileSync(identityFile, JSON.stringify(node));
  const table: RouteTable = {
    rules: [],
    groups: [groupOf('app', setting.upstreamPort, null)],
    parties: [
      {
        id: 'provider',
        app: 'app',
        environment: 'production',
        provides: { small: { group: 'app', path: '/', allow: [{ app: 'caller', methods: ['GET'], paths: ['/small'] }] } },
        callers: [],
      },
      {
        id: 'caller',
        app: 'caller',
        environment: 'production',
        provides: {},
        callers: [{ uses: ['librad.kv', 'app.small'], instances: { [instanceId]: node.nodeId } }],
      },
    ],
  };
  const tableFile = join(folder, 'table.json');
  writeFileSync(tableFile, JSON.stringify({ schema: 1, sequence: 1, table }));
  const log = (name: string): { readonly file: string; readonly fileBytes: number } => ({
    file: join(folder, name),
    fileBytes: 256 * 1024 * 1024,
  });
  const file: DataPlaneFile = {
    logFile: join(folder, 'edge.log'),
    options: {
      edgeId: 'bench',
      version: 'bench',
      listen: [],
      apiProxy: { listen: [{ host: '127.0.0.1', port }], callLog: log('calls.log') },
      connectionFile: join(folder, 'connection.json'),
      tableFile,
      savesTable: false,
      accessLog: log('access.log'),
      admin: { socketPath: join(folder, 'admin.sock') },
      drainMs: 500,
      identityFile,
    },
  };
  const optionsFile = join(folder, 'options.json');
  writeFileSync(optionsFile, JSON.stringify(file));
  const [command = '', ...words] = programArgv('data-plane', optionsFile);
  const program = await startProgram({
    name: 'API Proxy',
    argv: [command, ...words.map((word) => (word === process.argv[1] ? PROGRAM : word))],
    env: programEnv(process.env['PATH'] ?? '', folder),
    core: PROXY_CORE,
    output: join(folder, 'output.log'),
    port,
  });
  const claims = { instanceId, app: 'caller', environment: 'production', environmentId: 'caller', entrypoint: 'web' };
  const token = signInstanceToken(node, claims, systemClock.now());
  return { program, way: { name: 'API Proxy', port, path: '/app.small/small', headers: [`X-Libra-Identity: ${token}`] } };
}

async function measure(): Promise<Report> {
  const say = (text: string): void => void (process.argv.includes('--json') || console.log(text));
  buildLibra();
  const folder = mkdtempSync(join(tmpdir(), 'libra-bench-apiproxy-'));
  const programs: Program[] = [];
  try {
    const upstream = await startUpstream(folder);
    programs.push(upstream.program);
    const setting: Setting = {
      folder,
      certificate: writeBenchCertificate(folder),
      upstreamPort: upstream.port,
      socketsPort: upstream.port,
    };
    const apiProxy = await startApiProxy(setting);
    programs.push(apiProxy.program);
    const haproxy = await startHaproxy(setting);
    programs.push(haproxy.program);
    const ways: readonly Way[] = [
      { name: 'directly', port: upstream.port, path: '/small', headers: [] },
      { name: 'HAProxy', port: haproxy.plainPort, path: '/small', headers: [] },
      apiProxy.way,
    ];
    const url = `http://127.0.0.1:${apiProxy.way.port}${apiProxy.way.path}`;
    const full = { url, connections: PEAK_CONNECTIONS, headers: apiProxy.way.headers };
    await wrk({ ...full, seconds: SECONDS });
    const peak = await wrk({ ...full, seconds: SECONDS });
    const perSecond = Math.round(peak.requests / peak.seconds / 2);
    say(`the API Proxy does ${perSecond * 2} calls a second at most; measured at half of that`);
    const figures = ways.map((): Latency[] => []);
    for (const way of ways) await paced(way, perSecond, 1);
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [index, way] of ways.entries()) figures[index]?.push(await paced(way, perSecond, SECONDS));
    }
    const of = (index: number, pick: (latency: Latency) => number): number => median((figures[index] ?? []).map(pick));
    for (const [index, { name }] of ways.entries())
      say(`${name.padEnd(10)} p50 ${of(index, (one) => one.p50Ms).toFixed(3)} ms, p99 ${of(index, (one) => one.p99Ms).toFixed(3)} ms`);
    const added = (index: number, pick: (latency: Latency) => number): number => Math.max(0, of(index, pick) - of(0, pick));
    return {
      bench: 'API Proxy',
      figures: [
        { name: 'calls a second at most', value: perSecond * 2, unit: '/s' },
        { name: 'added, median', value: added(2, (one) => one.p50Ms), unit: 'ms', target: 0.5 },
        { name: 'added, p99', value: added(2, (one) => one.p99Ms), unit: 'ms', target: 2 },
        { name: 'HAProxy added, median', value: added(1, (one) => one.p50Ms), unit: 'ms' },
        { name: 'HAProxy added, p99', value: added(1, (one) => one.p99Ms), unit: 'ms' },
      ],
    };
  } finally {
    for (const program of programs.reverse()) await program.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

await runBench(measure);
