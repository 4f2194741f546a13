// Whether the platform's own work grows with the number of Apps: control on SQLite, an Edge and an agent in this process, whose
// Instances are fakes that listen. At 10, 100 and 1,000 Apps: list, plan, a new Release and a change of scale, and the reconcilers'
// passes meanwhile. Run: node bench/scale.ts [--json] [--check] [--most=1000]

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAgent } from '../src/agent/agent.ts';
import { createHttpLink } from '../src/agent/http-link.ts';
import { createClient } from '../src/api/client.ts';
import { table } from '../src/api/table.ts';
import { openFileBlobs } from '../src/blob/files.ts';
import type { ApiClient } from '../src/cli/api-client.ts';
import { createControl } from '../src/control/control.ts';
import { TEST_SETTINGS } from '../src/control/test-context.ts';
import { createFakeDriver } from '../src/driver/fake.ts';
import { runDataPlane } from '../src/roles/run-data-plane.ts';
import { systemClock } from '../src/lib/clock.ts';
import { systemRandom } from '../src/lib/id.ts';
import { openSqliteStore } from '../src/store/sqlite.ts';
import { silentLog } from '../src/sys/log.ts';
import { beginDeployment, followDeployment, uploadBundle } from './deployments.ts';
import { median, runBench } from './report.ts';
import type { Figure } from './report.ts';

const MOST = Number(process.argv.find((word) => word.startsWith('--most='))?.slice('--most='.length) ?? 1000);
const SIZES = [10, 100, 1000].filter((size) => size <= MOST);
const ROUNDS = 9;
/** How many Deployments are under way at once while the Apps are made. */
const AT_ONCE = 8;
const DEADLINE_MS = 60_000;
/** The most by which a time at 1,000 Apps may exceed that at 10, as a factor. */
const FLAT = 2.5;

interface Bench {
  readonly client: ApiClient;
  /** Deploys a Release of the App; resolves when it is healthy and drained. */
  readonly deploy: (app: string) => Promise<void>;
}

const manifest = (app: string): string => `app: ${app}
entrypoints:
  web:
    command: node server.js
    health: { http: /healthz, interval: 60s }
    resources: { cpu: { request: 0.001, limit: 1 }, memory: { request: 4Mi, limit: 64Mi } }
`;

async function withBench(folder: string, body: (bench: Bench) => Promise<void>): Promise<void> {
  const [clock, random, log] = [systemClock, systemRandom, silentLog];
  const undo: (() => Promise<unknown>)[] = [];
  try {
    const store = await openSqliteStore({ path: join(folder, 'store.db'), clock });
    undo.push(() => store.close());
    const blobs = await openFileBlobs({ folder: join(folder, 'blobs'), maxBytes: 1e6, clock });
    undo.push(() => blobs.close());
    const control = createControl({
      clock,
      random,
      log,
      store,
      storeEngine: 'sqlite',
      blobs,
      settings: { ...TEST_SETTINGS, publicHttpsPort: null, retainEndedMs: 1000 },
      masterKeyFile: join(folder, 'master.key'),
      ownerSecret: null,
      nodeName: 'bench',
      onShutdown: () => undefined,
    });
    const started = await control.start({ host: '127.0.0.1', port: 0 });
    undo.push(() => control.stop());
    const { url, nodeToken, edgeToken, ownerToken } = started;
    writeFileSync(join(folder, 'connection.json'), JSON.stringify({ url, token: edgeToken }), { mode: 0o600 });
    const plane = await runDataPlane(
      {
        edgeId: 'bench',
        version: '0.0.0',
        listen: [{ host: '127.0.0.1', port: 0 }],
        connectionFile: join(folder, 'connection.json'),
        tableFile: join(folder, 'table.json'),
        accessLog: null,
        admin: null,
        drainMs: 1000,
      },
      { clock, log, signals: false },
    );
    undo.push(() => plane.stop());
    const driver = createFakeDriver({ clock, name: 'process', script: () => ({ listens: true }) });
    undo.push(() => driver.close());
    const agent = createAgent({
      link: createHttpLink({ client: createClient(table, { url, token: nodeToken }), url: () => url, token: () => nodeToken }),
      drivers: { process: driver },
      dataFolder: join(folder, 'node'),
      clock,
      random,
      log,
      nodeName: 'bench',
      program: '0.0.0',
      builtinPrograms: { static: [] },
      searchPath: '/usr/bin',
    });
    await agent.start();
    undo.push(() => agent.stop({ stopInstances: true }));

    const client = createClient(table, { url, token: ownerToken });
    const bundle = await uploadBundle(client, folder);
    await body({
      client,
      deploy: async (app) => {
        const number = await beginDeployment(client, { app, manifest: manifest(app), bundle });
        await followDeployment(client, app, number, DEADLINE_MS);
      },
    });
  } finally {
    for (const step of undo.reverse()) await step();
  }
}

async function medianMs(run: (round: number) => Promise<unknown>): Promise<number> {
  const taken: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const began = performance.now();
    await run(round);
    taken.push(performance.now() - began);
  }
  return median(taken);
}

/** name → milliseconds, at the present number of Apps. */
async function measure({ client, deploy }: Bench, apps: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const pick = (round: number): string => apps[(round * 37) % apps.length] ?? '';
  const params = (round: number): { app: string; environment: string } => ({ app: pick(round), environment: 'production' });
  const times = new Map<string, number>();
  times.set('list a page of Apps', await medianMs(() => client.apps.list({ query: { limit: 10 } })));
  times.set(
    'list the Instances of an App',
    await medianMs((round) => client.instances.list({ params: params(round), query: { all: false } })),
  );
  times.set(
    'plan',
    await medianMs((round) => client.plans.create({ body: { manifest: manifest(pick(round)), environment: 'production' } })),
  );
  const runsBefore = await rolloutPasses(client);
  const began = performance.now();
  times.set('new Release, healthy and drained', await medianMs((round) => deploy(pick(round))));
  const passes = (await rolloutPasses(client)) - runsBefore;
  times.set('rollout passes a second meanwhile', passes / ((performance.now() - began) / 1000));
  const durations: number[] = [];
  const scaled = await medianMs(async (round) => {
    const wanted = round % 2 === 0 ? 2 : 1;
    await client.environments.scale({ params: params(0), body: { entrypoints: { web: wanted } } });
    for (;;) {
      const { items } = await client.instances.list({ params: params(0), query: { all: false } });
      if (items.filter((item) => item.healthy && item.desired === 'run').length === wanted) break;
      await systemClock.sleep(5);
    }
    const { reconcilers } = await client.system.status();
    durations.push(reconcilers.find(({ name }) => name === 'rollout')?.lastDurationMs ?? Number.NaN);
  });
  times.set('change of scale, healthy', scaled);
  times.set('one pass of the rollout', median(durations));
  return times;
}

async function rolloutPasses(client: ApiClient): Promise<number> {
  const { reconcilers } = await client.system.status();
  return reconcilers.find(({ name }) => name === 'rollout')?.runs ?? 0;
}

await runBench(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'libra-bench-'));
  const bySize = new Map<number, ReadonlyMap<string, number>>();
  const figures: Figure[] = [];
  try {
    await withBench(folder, async (bench) => {
      const apps: string[] = [];
      for (const size of SIZES) {
        const began = performance.now();
        const missing = size - apps.length;
        const names = Array.from({ length: missing }, (_, index) => `app-${apps.length + index}`);
        const queue = [...names];
        const worker = async (): Promise<void> => {
          for (let name = queue.shift(); name !== undefined; name = queue.shift()) await bench.deploy(name);
        };
        await Promise.all(Array.from({ length: AT_ONCE }, worker));
        apps.push(...names);
        figures.push({
          name: `first Release of an App, ${AT_ONCE} at once, up to ${size} Apps`,
          value: (performance.now() - began) / missing,
          unit: 'ms',
        });
        bySize.set(size, await measure(bench, apps));
      }
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const [smallest] = bySize.values();
  const largest = [...bySize.values()].at(-1);
  for (const name of smallest?.keys() ?? []) {
    for (const [size, times] of bySize)
      figures.push({ name: `${name}, ${size} Apps`, value: times.get(name) ?? Number.NaN, unit: name.includes('passes') ? '/s' : 'ms' });
    if (!name.includes('passes'))
      figures.push({
        name: `${name}, largest to smallest`,
        value: (largest?.get(name) ?? Number.NaN) / (smallest?.get(name) ?? Number.NaN),
        unit: '×',
        target: FLAT,
      });
  }
  return { bench: 'Scale', figures };
});
