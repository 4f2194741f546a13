// The Edge beside nginx, HAProxy and Caddy from Debian and the fastest proxy from npm: all in one run, in turn, each with one worker on a
// core of its own, with their logs on. What counts is requests per second of the proxy's CPU, for that is what a machine is bought for.
// Run: node bench/edge.ts [--json] [--quick] [--only=keep-alive,bodies,connections,tls,h2,node,routes,sockets,workers]

import { mkdtempSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../src/lib/clock.ts';
import { CASES, IN_FLIGHT, figuresOf, formatMeasured, requireCores } from './edge/cases.ts';
import { buildLibra, startLibra } from './edge/libra.ts';
import { startFarNode, together } from './edge/far-node.ts';
import { wrk } from './edge/load.ts';
import type { Round } from './edge/load.ts';
import { startNpmProxy } from './edge/npm-proxy.ts';
import { freePorts } from './edge/program.ts';
import type { Program } from './edge/program.ts';
import { startCaddy, startHaproxy, startNginx } from './edge/proxies.ts';
import type { Proxy } from './edge/proxies.ts';
import { measureInTurn } from './edge/rounds.ts';
import type { Effort } from './edge/rounds.ts';
import { startUpstream, writeBenchCertificate } from './edge/setting.ts';
import type { Setting } from './edge/setting.ts';
import { measureSockets, possibleSockets, startSocketsApp } from './edge/sockets.ts';
import { rulesOf, writeRequests } from './edge/tables.ts';
import { median, runBench } from './report.ts';
import type { Figure, Report } from './report.ts';

const MIB = 2 ** 20;
const FEW_ROUTES = 10;
const MANY_ROUTES = 50_000;
const SOCKETS = 10_000;
/** Longer than an unused connection to an Instance is kept. */
const PAUSE_MS = 2_500;
const PAUSES = 9;

interface Run {
  readonly setting: Setting;
  readonly effort: Effort;
  readonly quick: boolean;
  readonly say: (text: string) => void;
  /** Everything that is to be ended. */
  readonly programs: Program[];
}

async function started<T extends Proxy | null>({ programs }: Run, starting: Promise<T>): Promise<T> {
  const proxy = await starting;
  if (proxy !== null) programs.push(proxy.program);
  return proxy;
}

async function stopped({ programs }: Run, program: Program): Promise<void> {
  programs.splice(programs.indexOf(program), 1);
  await program.stop();
}

async function runCases(run: Run, names: readonly string[]): Promise<readonly Figure[]> {
  const { setting, effort, say } = run;
  const cases = CASES.filter(({ name }) => names.includes(name));
  if (cases.length === 0) return [];
  const proxies: Proxy[] = [];
  for (const start of [startLibra, startNginx, startHaproxy, startCaddy]) proxies.push(await started(run, start(setting)));
  const npm = await started(run, startNpmProxy(setting));
  if (npm === null) say('no registry can be reached: the proxy from npm is left out');
  else proxies.push(npm);
  const figures: Figure[] = [];
  for (const one of cases) {
    // In a hurry, all of them only where something is asked of Libra beside them.
    const asked = run.quick && one.least === undefined ? proxies.slice(0, 3) : proxies;
    const contestants = asked.flatMap((proxy) => {
      const load = one.load(proxy);
      return load === null ? [] : [{ name: proxy.name, program: proxy.program, load }];
    });
    const measured = await measureInTurn(contestants, effort);
    say(formatMeasured(one.title, measured, 'nginx'));
    figures.push(...figuresOf(one, measured));
  }
  for (const { program } of proxies) await stopped(run, program);
  return figures;
}

/** What it costs that an Instance runs on another machine. */
async function runNode(run: Run): Promise<readonly Figure[]> {
  const { setting, effort, say, programs } = run;
  const far = await startFarNode(setting);
  programs.push(far.program);
  const near = await started(run, startLibra(setting, { name: 'directly' }));
  const through = await started(run, startLibra(setting, { name: 'through a data port', far }));
  const both = together('Edge and data port', through.program, far.program);
  const figures: Figure[] = [];
  for (const path of ['small', 'large']) {
    const load =
      ({ plainUrl }: Proxy) =>
      (seconds: number): Promise<Round> =>
        wrk({ url: `${plainUrl}/${path}`, seconds, connections: IN_FLIGHT });
    const measured = await measureInTurn(
      [
        { name: 'directly', program: near.program, load: load(near) },
        { name: 'through a data port', program: through.program, load: load(through) },
        { name: 'the same, with the CPU of the data port', program: both, load: load(through) },
      ],
      effort,
    );
    const title = `${path === 'small' ? '1 KiB' : '64 KiB'} answers of an Instance on another machine, 64 keep-alive connections`;
    say(formatMeasured(title, measured, 'directly'));
    const [direct, ...others] = measured;
    for (const { name, perCpuSecond, p99Ms } of others) {
      figures.push(
        { name: `${title}: ${name}: part of the requests per CPU-second`, value: perCpuSecond / (direct?.perCpuSecond ?? 1), unit: '×' },
        { name: `${title}: ${name}: slowest hundredth from`, value: p99Ms, unit: 'ms' },
      );
    }
  }
  const pauses = await measurePauses([near, through]);
  say(
    `a request after a pause in which its connection to the Instance was let go, median: ${pauses.map((ms) => `${ms.toFixed(2)} ms`).join(' directly, ')} through a data port`,
  );
  const [direct = 0, port = 0] = pauses;
  figures.push({ name: 'a request after a pause: through a data port, longer by', value: port - direct, unit: 'ms' });
  for (const { program } of [near, through]) await stopped(run, program);
  await stopped(run, far.program);
  return figures;
}

/** Median of each, milliseconds: one request at a time, each on a new connection to the Instance. */
async function measurePauses(proxies: readonly Proxy[]): Promise<readonly number[]> {
  const took = proxies.map((): number[] => []);
  for (let times = 0; times < PAUSES; times += 1) {
    await systemClock.sleep(PAUSE_MS);
    for (const [index, { plainUrl }] of proxies.entries()) {
      const beganMs = systemClock.monotonic();
      await (await fetch(`${plainUrl}/small`)).text();
      took[index]?.push(systemClock.monotonic() - beganMs);
    }
  }
  return took.map(median);
}

/** The same requests per CPU-second, whether there are few Routes or many. */
async function runRoutes(run: Run): Promise<readonly Figure[]> {
  const { setting, effort, say } = run;
  const contestants = [];
  for (const count of [FEW_ROUTES, MANY_ROUTES]) {
    const name = `${count.toLocaleString('en')} Routes`;
    const { program, plainUrl } = await started(run, startLibra(setting, { name, rules: rulesOf(count) }));
    const script = writeRequests(setting.folder, count);
    contestants.push({ name, program, load: (seconds: number) => wrk({ url: plainUrl, seconds, connections: IN_FLIGHT, script }) });
  }
  const measured = await measureInTurn(contestants, effort);
  const title = '1 KiB answers, requests for all Routes alike';
  const [few, many] = measured;
  say(formatMeasured(title, measured, few?.name ?? ''));
  for (const { program } of contestants) await stopped(run, program);
  const share = (many?.perCpuSecond ?? 0) / (few?.perCpuSecond ?? 1);
  return [
    ...figuresOf({ title }, measured),
    { name: `${title}: part of its requests per CPU-second that is left with 50,000`, value: share, unit: '×', least: 0.8 },
  ];
}

async function runSockets(run: Run): Promise<readonly Figure[]> {
  const { setting, quick, say, programs } = run;
  programs.push(await startSocketsApp(setting.folder, setting.socketsPort));
  const most = possibleSockets(SOCKETS);
  const steps = quick ? [1_000] : [1_000, most];
  if (!quick && most < SOCKETS) say(`a process may have so few descriptors here that ${most} WebSockets stand for ${SOCKETS}`);
  const figures: Figure[] = [];
  for (const start of [startLibra, startNginx, startHaproxy, startCaddy]) {
    const proxy = await started(run, start(setting));
    for (const { sockets, bytes } of await measureSockets(proxy, steps)) {
      const nominal = sockets === most ? SOCKETS : sockets;
      const value = ((bytes / sockets) * nominal) / MIB;
      const target = proxy.name === 'Libra' && nominal === SOCKETS ? { target: 300 } : {};
      figures.push({ name: `${nominal.toLocaleString('en')} idle WebSockets: ${proxy.name}: PSS on top`, value, unit: 'MiB', ...target });
    }
    await stopped(run, proxy.program);
  }
  say(figures.map(({ name, value }) => `${name} ${value.toFixed(1)} MiB`).join('\n'));
  return figures;
}

/** What a second worker takes, while both have just been at work. */
async function runWorkers(run: Run): Promise<readonly Figure[]> {
  const busy = async (name: string): Promise<Program> => {
    const { program, plainUrl } = await started(run, startLibra(run.setting, { name }));
    await wrk({ url: `${plainUrl}/small`, seconds: 1, connections: IN_FLIGHT });
    return program;
  };
  // Fills the cache of compiled code, as any earlier start has.
  await stopped(run, await busy('any worker'));
  const first = await busy('first worker');
  const alone = first.pssBytes();
  const second = await busy('second worker');
  const value = (first.pssBytes() + second.pssBytes() - alone) / MIB;
  for (const program of [first, second]) await stopped(run, program);
  run.say(`a worker at work takes ${(alone / MIB).toFixed(1)} MiB PSS, a second one ${value.toFixed(1)} MiB more`);
  return [
    { name: 'PSS of a worker at work', value: alone / MIB, unit: 'MiB' },
    { name: 'PSS of one further worker at work', value, unit: 'MiB', target: 50 },
  ];
}

async function main(): Promise<Report> {
  const quick = process.argv.includes('--quick');
  const json = process.argv.includes('--json');
  const only = process.argv.find((word) => word.startsWith('--only='));
  const all = [...CASES.map(({ name }) => name), 'node', 'routes', 'sockets', 'workers'];
  const names = only?.slice('--only='.length).split(',') ?? all;
  const unknown = names.filter((name) => !all.includes(name));
  if (unknown.length > 0) throw new Error(`there is no case ${unknown.join(', ')}; there are ${all.join(', ')}`);
  requireCores();
  buildLibra();
  const folder = mkdtempSync(join(tmpdir(), 'libra-bench-edge-'));
  const programs: Program[] = [];
  try {
    const upstream = await startUpstream(folder);
    programs.push(upstream.program);
    const [socketsPort = 0] = await freePorts(1);
    const run: Run = {
      setting: { folder, certificate: writeBenchCertificate(folder), upstreamPort: upstream.port, socketsPort },
      effort: quick ? { rounds: 2, repeats: 0, seconds: 1, warmSeconds: 1 } : { rounds: 5, repeats: 2, seconds: 1, warmSeconds: 3 },
      quick,
      say: json ? () => undefined : (text) => console.log(text),
      programs,
    };
    const load = loadavg().map((value) => value.toFixed(1));
    run.say(`load average before: ${load.join(' ')}`);
    const figures = [...(await runCases(run, names))];
    if (names.includes('node')) figures.push(...(await runNode(run)));
    if (names.includes('routes')) figures.push(...(await runRoutes(run)));
    if (names.includes('sockets')) figures.push(...(await runSockets(run)));
    if (names.includes('workers')) figures.push(...(await runWorkers(run)));
    const targeted = figures.filter(({ least, target }) => (least ?? target) !== undefined);
    return { bench: 'Edge: what is asked of it', figures: json ? figures : targeted };
  } finally {
    await Promise.all(programs.map((program) => program.stop()));
    rmSync(folder, { recursive: true, force: true });
  }
}

await runBench(main);
