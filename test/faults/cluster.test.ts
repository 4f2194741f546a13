// A cluster of machines that are network namespaces: two control planes on three members of etcd, three Nodes with Instances, and one with
// the Edge. One after the other is killed, stopped and cut off under load. The short form (kill and cut) is part of the suite;
// LIBRA_TEST_FULL=1 (or LIBRA_CLUSTER_FAULTS=all) runs every fault on every machine and prints what was lost and for how long.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { writeApp } from '../fixtures/app-folder.ts';
import { createNetwork } from '../fixtures/network.ts';
import type { Machine, Network } from '../fixtures/network.ts';
import type { Outcome } from '../fixtures/requests-child.ts';
import { isFull } from '../full-size.ts';
import { Platform, until } from '../platform.ts';
import { lacking } from '../requirements.ts';

const EDGE_PORT = 8080;
const WORKERS = 4;
const GRACE_S = 12;
const isWhole = isFull || process.env['LIBRA_CLUSTER_FAULTS'] === 'all';

const server = `import http from 'node:http';
console.log('listening');
const here = () => process.env.LIBRA_NODE + ' ' + process.env.LIBRA_RELEASE;
http.createServer((request, response) => response.end(here())).listen(process.env.PORT, process.env.HOST);
`;
const manifest = `app: shop
entrypoints:
  web:
    command: node server.mjs
    instances: 3
    traffic: { retries: { perTry: 1s, budget: 100 } }
    resources: { cpu: 0.05, memory: 64Mi }
`;

/** Never twice at once: it holds a lock that every machine sees and that ends with it, and tells where somebody else had it. */
const solo = (lock: string): Readonly<Record<string, string>> => ({
  'solo.mjs': `import { DatabaseSync } from 'node:sqlite';
import { appendFileSync } from 'node:fs';
const database = new DatabaseSync(${JSON.stringify(lock)});
try {
  database.exec('pragma locking_mode = exclusive; begin exclusive');
} catch (error) {
  appendFileSync(${JSON.stringify(`${lock}.twice`)}, process.env.LIBRA_NODE + ' ' + error.message + '\\n');
  process.exit(1);
}
console.log('alone');
setInterval(() => database.isOpen, 1000);
`,
  'libra.yaml': `app: solo
entrypoints:
  one:
    command: node solo.mjs
    singleton: true
    disconnect: { stopAfter: 10s, replaceAfter: 20s }
    resources: { cpu: 0.05, memory: 64Mi }
`,
});

interface Seen {
  readonly count: number;
  readonly failed: readonly Outcome[];
  readonly slowestMs: number;
}

interface Cluster {
  /** That every machine sees. */
  readonly folder: string;
  /** one and two are control planes, three only runs Instances, edge takes the requests. */
  readonly machines: Readonly<Record<'one' | 'two' | 'three' | 'edge', { readonly platform: Platform; readonly machine: Machine }>>;
  readonly etcd: readonly ChildProcess[];
  /** What `libra` says on a machine of the control plane that answers. */
  ask<T>(...words: readonly string[]): Promise<T>;
  requests(sinceMs: number, untilMs?: number): Seen;
}

type Name = keyof Cluster['machines'];
type NodeView = { readonly name: string; readonly state: string };
type InstanceView = { readonly node: string; readonly healthy: boolean; readonly phase: string };

function startEtcd(network: Network, folder: string): ChildProcess[] {
  const members = network.machines.slice(0, 3);
  const cluster = members.map(({ address }, index) => `e${index}=http://${address}:2380`).join(',');
  return members.map(({ address, enter }, index) => {
    const [program, ...words] = [...enter, 'etcd', '--name', `e${index}`, '--data-dir', join(folder, `e${index}`)];
    const clients = ['--listen-client-urls', `http://${address}:2379`, '--advertise-client-urls', `http://${address}:2379`];
    const peers = ['--listen-peer-urls', `http://${address}:2380`, '--initial-advertise-peer-urls', `http://${address}:2380`];
    const others = ['--initial-cluster', cluster, '--log-level', 'error'];
    return spawn(program, [...words, ...clients, ...peers, ...others], { stdio: 'ignore' });
  });
}

async function withCluster(body: (cluster: Cluster) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'libra-cluster-'));
  const network = createNetwork(4);
  const [one, two, three, edge] = network.machines;
  assert.ok(one && two && three && edge);
  const etcd = startEtcd(network, folder);
  const store = `etcd://${[one, two, three].map(({ address }) => `${address}:2379`).join(',')}`;
  const platformOn = (machine: Machine, name: string, env: Readonly<Record<string, string>> = {}): Platform =>
    new Platform({
      enter: machine.enter,
      env: { LIBRA_NODE_NAME: name, LIBRA_DATA_PORT: '7402', LIBRA_NODE_GRACE: String(GRACE_S), ...env },
    });
  const control = (machine: Machine, name: string): Platform =>
    platformOn(machine, name, {
      LIBRA_STORE: store,
      LIBRA_API_TLS_HOST: machine.address,
      LIBRA_API_TLS_PORT: '7401',
      LIBRA_API_PORT: '7400',
    });
  const machines: Cluster['machines'] = {
    one: { machine: one, platform: control(one, 'one') },
    // The store, and all else that control planes share, it is given when it joins.
    two: { machine: two, platform: platformOn(two, 'two', { LIBRA_API_PORT: '7400' }) },
    three: { machine: three, platform: platformOn(three, 'three') },
    edge: { machine: edge, platform: platformOn(edge, 'edge', { LIBRA_EDGE_PORT: String(EDGE_PORT) }) },
  };
  const outcomes: Outcome[] = [];
  let client: ChildProcess | null = null;
  const askOne = async <T>(platform: Platform, words: readonly string[]): Promise<T> => {
    const result = await platform.cli(...words, '--json');
    if (result.code !== 0) throw new Error(`libra ${words.join(' ')}: ${result.stderr}`);
    return JSON.parse(result.stdout) as T; // printed by our own command
  };
  // One that is stopped answers late or never.
  const ask = <T>(...words: readonly string[]): Promise<T> =>
    Promise.any([machines.one, machines.two].map(({ platform }) => askOne<T>(platform, words)));
  try {
    await machines.one.platform.startDetached();
    const invited = await askOne<{ readonly url: string; readonly token: string }>(machines.one.platform, [
      'nodes',
      'invite',
      '--roles',
      'control',
    ]);
    const became = await machines.two.platform.cli('join', invited.url, '--token', invited.token, '--detach');
    assert.equal(became.code, 0, became.stderr);
    machines.two.platform.readAddresses();
    for (const [name, roles] of [
      ['three', 'agent'],
      ['edge', 'edge'],
    ] as const) {
      const { url, token } = await askOne<{ readonly url: string; readonly token: string }>(machines.one.platform, [
        'nodes',
        'invite',
        '--roles',
        roles,
      ]);
      const joined = await machines[name].platform.cli('join', url, '--token', token, '--detach');
      assert.equal(joined.code, 0, joined.stderr);
    }
    await until('three Nodes are up', 30_000, async () => {
      const nodes = await ask<readonly NodeView[]>('nodes');
      return nodes.filter(({ state }) => state === 'up').length === 3;
    });
    const deployed = await machines.two.platform.cli(
      'deploy',
      writeApp(machines.two.platform, 'shop', { 'server.mjs': server, 'libra.yaml': manifest }),
    );
    assert.equal(deployed.code, 0, deployed.stdout + deployed.stderr);
    const fixture = fileURLToPath(new URL('../fixtures/requests-child.ts', import.meta.url));
    client = edge.run([process.execPath, fixture, String(EDGE_PORT), 'shop.localhost', String(WORKERS), '0']);
    assert.ok(client.stdout);
    createInterface(client.stdout).on('line', (line) => outcomes.push(JSON.parse(line) as Outcome)); // what the fixture tells
    await until(
      'all three answer',
      30_000,
      () => new Set(outcomes.flatMap(({ body, status }) => (status === 200 ? [body] : []))).size === 3,
    );
    await body({
      folder,
      machines,
      etcd,
      ask,
      requests: (sinceMs, untilMs = Number.POSITIVE_INFINITY) => {
        const all = outcomes.filter(({ atMs }) => atMs >= sinceMs && atMs <= untilMs);
        return {
          count: all.length,
          failed: all.filter(({ status }) => status !== 200),
          slowestMs: Math.max(0, ...all.map(({ tookMs }) => tookMs)),
        };
      },
    });
  } catch (error) {
    for (const [name, { platform }] of Object.entries(machines)) {
      for (const file of ['librad.log', 'edge.log']) {
        try {
          console.error(
            name,
            file,
            readFileSync(join(platform.data, 'logs', file), 'utf8')
              .split('\n')
              .slice(-25)
              .join('\n'),
          );
        } catch {
          // There is none.
        }
      }
    }
    throw error;
  } finally {
    // What fails here must not hide what failed before.
    const problems: unknown[] = [];
    client?.kill('SIGKILL');
    for (const { machine, platform } of Object.values(machines)) {
      machine.link('up');
      await platform.cli('down');
    }
    for (const child of etcd) {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    }
    for (const { platform } of Object.values(machines)) await platform.dispose().catch((error: unknown) => problems.push(error));
    network.stop();
    rmSync(folder, { recursive: true, force: true });
    if (problems.length > 0) console.error(...problems);
  }
}

/** Of the librad that runs there now; the keeper may be about to start it. */
const pidOf = (platform: Platform): Promise<number> =>
  until('librad runs', 30_000, () => {
    const { pid } = platform.readAddresses();
    return platform.processes().some((each) => each.pid === pid) ? pid : null;
  });

/** Three healthy Instances, as a control plane that answers says. */
const isWell = async ({ ask }: Cluster): Promise<boolean> => {
  const [nodes, instances] = await Promise.all([ask<readonly NodeView[]>('nodes'), ask<readonly InstanceView[]>('ps', '-a', 'shop')]);
  const up = new Set(nodes.flatMap(({ name, state }) => (state === 'up' ? [name] : [])));
  return instances.filter(({ healthy, node, phase }) => healthy && phase === 'running' && up.has(node)).length === 3;
};

interface Fault {
  readonly kind: 'kill' | 'stop' | 'cut';
  begin(): void;
  end(): void;
}

async function faultOn(cluster: Cluster, name: Name, kind: Fault['kind']): Promise<Fault> {
  const { machine, platform } = cluster.machines[name];
  if (kind === 'cut') return { kind, begin: () => machine.link('down'), end: () => machine.link('up') };
  const pid = await pidOf(platform);
  // The keeper starts a killed one again.
  if (kind === 'kill') return { kind, begin: () => process.kill(pid, 'SIGKILL'), end: () => undefined };
  return { kind, begin: () => process.kill(pid, 'SIGSTOP'), end: () => process.kill(pid, 'SIGCONT') };
}

/** One fault under load: how long until all is replaced, then what is left of it when it is over. */
async function show(t: TestContext, cluster: Cluster, what: string, fault: Fault): Promise<Seen> {
  const beganMs = Date.now();
  fault.begin();
  const healed = async (): Promise<number> => {
    await until(`${what}: three Instances are well`, 90_000, () => isWell(cluster));
    return Date.now() - beganMs;
  };
  let healedMs: number;
  try {
    // A kill shows at once or never; silence is noticed after the grace.
    if (fault.kind !== 'kill') await until(`${what}: silence is noticed`, 90_000, () => Date.now() - beganMs > (GRACE_S + 6) * 1000);
    healedMs = await healed();
  } finally {
    fault.end();
  }
  const overMs = Date.now();
  await until(`${what}: all Nodes are back`, 90_000, async () => {
    const nodes = await cluster.ask<readonly NodeView[]>('nodes');
    return nodes.filter(({ state }) => state === 'up').length === 3 && (await isWell(cluster));
  });
  const backMs = Date.now() - overMs;
  const seen = cluster.requests(beganMs);
  const span = seen.failed.length === 0 ? '' : ` within ${Math.max(...seen.failed.map(({ atMs }) => atMs)) - beganMs} ms`;
  t.diagnostic(
    `${what}: ${seen.count} requests, ${seen.failed.length} failed${span}, slowest ${seen.slowestMs} ms; well after ${healedMs} ms, whole again ${backMs} ms after its end`,
  );
  return seen;
}

test('machines of a cluster are killed and cut off under load', { skip: lacking('root', 'ip', 'etcd'), timeout: 1_200_000 }, (t) =>
  withCluster(async (cluster) => {
    const { machines, ask } = cluster;
    const redeployMs = Date.now();
    const again = await machines.one.platform.cli(
      'deploy',
      writeApp(machines.one.platform, 'shop', { 'server.mjs': server, 'libra.yaml': manifest }),
    );
    assert.equal(again.code, 0, again.stdout + again.stderr);
    const redeployed = cluster.requests(redeployMs);
    t.diagnostic(`redeploy: ${redeployed.count} requests, ${redeployed.failed.length} failed, slowest ${redeployed.slowestMs} ms`);
    assert.deepEqual(redeployed.failed, []);

    const lock = join(cluster.folder, 'alone.db');
    writeFileSync(lock, '');
    // Apps are users of their own, on each machine another one.
    for (const path of [cluster.folder, lock]) chmodSync(path, 0o777);
    const alone = await machines.one.platform.cli('deploy', writeApp(machines.one.platform, 'solo', solo(lock)));
    assert.equal(alone.code, 0, alone.stdout + alone.stderr);

    const round = async (name: Name, kind: Fault['kind']): Promise<void> => {
      const seen = await show(t, cluster, `${kind} ${name}`, await faultOn(cluster, name, kind));
      await pidOf(machines[name].platform);
      assert.ok(seen.slowestMs < 15_000, `${kind} ${name}: ${seen.slowestMs} ms`);
      assert.ok(seen.failed.length <= 8, `${kind} ${name}: ${seen.failed.length} failed`);
    };
    const names = isWhole ? (['one', 'two', 'three'] as const) : (['one'] as const);
    for (const name of names) await round(name, 'kill');
    for (const name of isWhole ? names : (['three'] as const)) await round(name, 'cut');
    if (isWhole) for (const name of names) await round(name, 'stop');
    await until('the singleton runs', 60_000, async () =>
      (await ask<readonly InstanceView[]>('ps', '-a', 'solo')).some(({ healthy }) => healthy),
    );
    assert.equal(existsSync(`${lock}.twice`), false, 'nobody found the lock taken');

    const drainMs = Date.now();
    assert.equal((await machines.one.platform.cli('nodes', 'drain', 'three')).code, 0);
    await until('nothing runs there', 60_000, async () =>
      (await ask<readonly InstanceView[]>('ps', '-a', 'shop')).every(({ node }) => node !== 'three'),
    );
    const drained = cluster.requests(drainMs);
    t.diagnostic(
      `drain: ${drained.count} requests, ${drained.failed.length} failed, slowest ${drained.slowestMs} ms, empty after ${Date.now() - drainMs} ms`,
    );
    assert.deepEqual(drained.failed, []);
  }),
);
