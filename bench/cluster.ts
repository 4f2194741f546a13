// A large cluster end to end: control on etcd, and the agents of 1,000 Nodes, which start nothing, in a process beside it. 100 Apps of 1,000
// Instances each are deployed at once; meanwhile one of a single Instance is deployed again and again. Placements a second are what agents
// were given; control's memory is that of its process. Everything shares the cores of this machine.
// Run: node bench/cluster.ts [--json] [--check] [--nodes=1000] [--apps=100] [--instances=1000]

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createClient } from '../src/api/client.ts';
import { table } from '../src/api/table.ts';
import type { ApiClient } from '../src/cli/api-client.ts';
import { startTestCluster } from '../src/store/etcd-fixture.ts';
import type { Seeded } from './cluster/control-child.ts';
import { beginDeployment, followDeployment, uploadBundle } from './deployments.ts';
import { median, quantile, runBench } from './report.ts';
import type { Report } from './report.ts';

const option = (name: string, otherwise: number): number =>
  Number(process.argv.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3) ?? otherwise);
const NODES = option('nodes', 1000);
const APPS = option('apps', 100);
const INSTANCES = option('instances', 1000);
const DEADLINE_MS = option('deadline', 900) * 1000;

const child = (name: string): string => fileURLToPath(new URL(`cluster/${name}.ts`, import.meta.url));

interface Told {
  readonly atMs: number;
  readonly given: number;
  readonly told: number;
}

const manifest = (app: string, instances: number): string => `app: ${app}
entrypoints:
  worker:
    command: node server.js
    instances: ${instances}
    resources: { cpu: { request: 0.01, limit: 1 }, memory: { request: 16Mi, limit: 64Mi } }
`;

async function measure(): Promise<Report> {
  const folder = mkdtempSync(join(tmpdir(), 'libra-cluster-bench-'));
  const children: ChildProcess[] = [];
  const start = (name: string, ...words: readonly string[]): ChildProcess => {
    const started = spawn(process.execPath, [child(name), ...words], { stdio: ['pipe', 'pipe', 'inherit'] });
    children.push(started);
    return started;
  };
  const etcd = await startTestCluster();
  try {
    const control = start('control-child', etcd.endpoints[0] ?? '', folder, String(NODES));
    if (control.stdout === null || control.stdin === null) throw new Error('no pipes');
    const lines = createInterface(control.stdout)[Symbol.asyncIterator]();
    const line = async (): Promise<string> => String((await lines.next()).value);
    const seeded = JSON.parse(await line()) as Seeded; // printed by our own child
    const seedFile = join(folder, 'seeded.json');
    writeFileSync(seedFile, JSON.stringify(seeded), { mode: 0o600 });
    const agents = start('agents-child', seedFile);
    if (agents.stdout === null) throw new Error('no pipe');
    let last: Told = { atMs: 0, given: 0, told: 0 };
    const history: Told[] = [];
    createInterface(agents.stdout).on('line', (text) => {
      last = JSON.parse(text) as Told; // printed by our own child
      history.push(last);
    });
    const client = createClient(table, { url: seeded.url, token: seeded.ownerToken, timeoutMs: 120_000 });
    const untilMs = Date.now() + DEADLINE_MS;
    const waitFor = async (what: string, holds: () => Promise<boolean> | boolean): Promise<void> => {
      while (!(await holds())) {
        if (Date.now() > untilMs) throw new Error(`${what}: not in time; ${JSON.stringify(last)}`);
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    };
    await waitFor('every Node is up', async () => (await nodesUp(client)) === NODES);
    const bundle = await uploadBundle(client, folder);
    const deploy = async (app: string, instances: number): Promise<string> =>
      await beginDeployment(client, { app, manifest: manifest(app, instances), bundle });
    const follow = async (app: string, number: string): Promise<void> => await followDeployment(client, app, number, DEADLINE_MS);

    for (let app = 0; app <= APPS; app += 1) await client.apps.create({ body: { name: app === APPS ? 'probe' : `app-${app}` } });
    const total = APPS * INSTANCES;
    const pids = [control.pid, etcd.pid(0), agents.pid];
    const cpuBefore = pids.map(cpuSeconds);
    const beganMs = Date.now();
    let isOver = false;
    const probes: number[] = [];
    const probing = (async () => {
      while (!isOver) {
        const probeMs = performance.now();
        await follow('probe', await deploy('probe', 1));
        probes.push(performance.now() - probeMs);
      }
    })();
    const numbers = await Promise.all(Array.from({ length: APPS }, (_, app) => deploy(`app-${app}`, INSTANCES)));
    await waitFor('every Instance is placed', () => last.given >= total);
    const placedMs = (history.find(({ given }) => given >= total)?.atMs ?? Date.now()) - beganMs;
    await Promise.all(numbers.map((number, app) => follow(`app-${app}`, number)));
    const healthyMs = Date.now() - beganMs;
    isOver = true;
    const cpuMs = pids.map((pid, index) => ((cpuSeconds(pid) - (cpuBefore[index] ?? 0)) * 1000) / total);
    await probing;
    const rates = history.slice(1).flatMap((now, index) => {
      const before = history[index];
      return before === undefined || now.given === before.given ? [] : [((now.given - before.given) * 1000) / (now.atMs - before.atMs)];
    });
    control.stdin.write('memory\n');
    const rssMiB = Number(await line()) / 1024 ** 2;
    return {
      bench: `cluster: ${NODES} Nodes, ${total} Instances, etcd, fake agents`,
      figures: [
        { name: 'placements, mean', value: (total * 1000) / placedMs, unit: '/s', least: 4000 },
        { name: 'placements, median of half seconds', value: median(rates), unit: '/s' },
        { name: 'all placed', value: placedMs / 1000, unit: 's' },
        { name: 'all healthy, every Deployment succeeded', value: healthyMs / 1000, unit: 's' },
        { name: `one Instance meanwhile, median of ${probes.length}`, value: median(probes), unit: 'ms' },
        { name: 'one Instance meanwhile, p99', value: quantile(probes, 0.99), unit: 'ms' },
        ...['control', 'etcd', 'the agents'].map((name, index) => ({
          name: `processor for one Instance, until it is healthy: ${name}`,
          value: cpuMs[index] ?? Number.NaN,
          unit: 'ms',
        })),
        { name: 'memory of control', value: rssMiB, unit: 'MiB', target: 1024 },
      ],
    };
  } finally {
    for (const one of children) {
      one.kill('SIGKILL');
      if (one.exitCode === null && one.signalCode === null) await once(one, 'exit');
    }
    await etcd.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What a process has had of the processors since its start. */
function cpuSeconds(pid: number | undefined): number {
  // Of proc(5), stat: behind the name in brackets, the 12th and 13th field, in ticks of which Linux has a hundred a second.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function nodesUp(client: ApiClient): Promise<number> {
  let count = 0;
  for (let cursor: string | undefined; ;) {
    const page = await client.nodes.list({ query: { limit: 500, ...(cursor === undefined ? {} : { cursor }) } });
    count += page.items.filter(({ state }) => state === 'up').length;
    if (page.next === null) return count;
    cursor = page.next;
  }
}

await runBench(measure);
