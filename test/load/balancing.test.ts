// What clients notice when one of several Instances fails, with a real Edge and real connections: hardly anything, and soon nothing. And
// what other Apps notice when one hangs as a whole: nothing at all.

import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, test } from 'node:test';
import { DEFAULT_TRAFFIC } from '../../src/model/traffic-policy.ts';
import type { TrafficPolicy } from '../../src/model/traffic-policy.ts';
import { group, rule, startEdge, startInstance, text, until } from '../../src/edge/edge-fixture.ts';
import type { TestEdge, TestInstance } from '../../src/edge/edge-fixture.ts';
import { startEdgeLoad } from '../fixtures/edge-load.ts';
import type { EdgeLoad, EdgeLoadOptions, Sample } from '../fixtures/edge-load.ts';

const SETTLED_MS = 3_000;
/** Requests that are looked at after that. */
const LEAST_REQUESTS = 3_000;
const LONGEST_MS = 30_000;

let edge: TestEdge;
const instances: TestInstance[] = [];
before(async () => {
  edge = await startEdge();
});
after(async () => {
  await edge.stop();
  for (const instance of instances) await instance.kill();
});

async function instance(id: string, listener: http.RequestListener): Promise<TestInstance> {
  const made = await startInstance(id, listener);
  instances.push(made);
  return made;
}

const app = (name: string, ...targets: readonly TestInstance[]): ReturnType<typeof group> =>
  group(
    name,
    targets.map((each) => each.target),
  );

const startLoad = (options: Omit<EdgeLoadOptions, 'port'>): EdgeLoad => startEdgeLoad({ port: edge.port, ...options });

const percentile = (samples: readonly Sample[], part: number): number =>
  samples.map((sample) => sample.tookMs).toSorted((left, right) => left - right)[Math.floor((samples.length - 1) * part)] ?? 0;

/** Runs until enough was asked after the first three seconds; gives what was asked then. */
async function afterSettling(load: EdgeLoad): Promise<readonly Sample[]> {
  const late = (): readonly Sample[] => load.samples.filter((sample) => sample.atMs >= SETTLED_MS);
  await until('enough was asked', () => late().length >= LEAST_REQUESTS, LONGEST_MS);
  await load.stop();
  return late();
}

const metric = (name: string, host: string): number =>
  Number(new RegExp(`^${name}\\{app="${host.split('.')[0]}"[^}]*\\} (\\d+)$`, 'mu').exec(edge.edge.metrics())?.[1] ?? 0);

interface Fault {
  readonly method: string;
  readonly listener: http.RequestListener;
  readonly policy?: TrafficPolicy;
  /** Whether it has to be out at some time; one that hangs is avoided long before it is. */
  readonly out: boolean;
}

const { eject } = DEFAULT_TRAFFIC;
const inTurn: TrafficPolicy = {
  ...DEFAULT_TRAFFIC,
  balance: { kind: 'round-robin' },
  eject: eject === null ? null : { ...eject, stallMs: 1_000 },
};
const faults: Readonly<Record<string, Fault>> = {
  'answers 500': { method: 'GET', listener: (_request, response) => text(response, 'no', 500), out: true },
  hangs: { method: 'GET', listener: () => undefined, out: false },
  'hangs in turn': { method: 'GET', listener: () => undefined, policy: inTurn, out: true },
  resets: { method: 'POST', listener: (request) => request.socket.resetAndDestroy(), out: true },
};

for (const [what, { method, listener, policy, out }] of Object.entries(faults)) {
  test(`one of three that ${what}: under one error in a thousand after three seconds, and no POST twice`, async (t) => {
    const received = new Map<string, number>();
    const noted =
      (inner: http.RequestListener): http.RequestListener =>
      (request, response) => {
        received.set(request.url ?? '', (received.get(request.url ?? '') ?? 0) + 1);
        inner(request, response);
      };
    const host = `${what.replaceAll(' ', '-')}.localhost`;
    const name = host.split('.')[0] ?? '';
    const well = noted((request, response) => void request.resume().on('end', () => text(response, 'ok')));
    await edge.install({
      rules: [rule(host, name)],
      groups: [
        {
          ...app(name, await instance(`${name}-1`, noted(listener)), await instance(`${name}-2`, well), await instance(`${name}-3`, well)),
          ...(policy === undefined ? {} : { policy }),
        },
      ],
    });
    const load = startLoad({ host, clients: 16, method });
    // One that is out is tried again after a while, so the end alone says little.
    const outs = new Set<string>();
    const look = (): void => void outs.add(/^libra_edge_ejected_targets (\d)$/mu.exec(edge.edge.metrics())?.[1] ?? '');
    const watch = setInterval(look, 50);
    const late = await afterSettling(load).finally(() => clearInterval(watch));
    const failed = late.filter((sample) => !sample.ok).length;
    const early = load.samples.length - late.length;
    const earlyFailed = load.samples.filter((sample) => sample.atMs < SETTLED_MS && !sample.ok).length;
    t.diagnostic(`${earlyFailed} of ${early} failed in the first three seconds, ${failed} of ${late.length} later`);
    assert.ok(failed / late.length < 0.001, `${failed} of ${late.length} failed`);
    look();
    assert.ok([...outs].every((count) => count === '0' || count === '1') && (!out || outs.has('1')), `${[...outs].join(', ')} were out`);
    if (method === 'POST')
      assert.deepEqual(
        [...received].filter(([, count]) => count > 1),
        [],
      );
  });
}

test('one of three that is dead: no request fails, and tries grow by less than a fifth', async (t) => {
  const well: http.RequestListener = (_request, response) => text(response, 'ok');
  const dead = await instance('dead-1', well);
  await edge.install({
    rules: [rule('dead.localhost', 'dead')],
    groups: [app('dead', dead, await instance('dead-2', well), await instance('dead-3', well))],
  });
  const load = startLoad({ host: 'dead.localhost', clients: 16 });
  await until('it is under way', () => load.samples.length > 200);
  await dead.kill();
  const late = await afterSettling(load);
  assert.equal(load.samples.filter((sample) => !sample.ok).length, 0);
  const retries = metric('libra_edge_retries_total', 'dead.localhost');
  t.diagnostic(`${retries} further tries for ${load.samples.length} requests`);
  assert.ok(retries >= 1 && retries / load.samples.length < 0.2);
  assert.ok(late.length >= LEAST_REQUESTS);
});

test('an App that hangs under thousands of connections takes its part and no more; an honest one does not notice', async (t) => {
  const CLIENTS = 3_000;
  const honest = await instance('honest-1', (_request, response) => text(response, 'ok'));
  const hanging = await instance('hanging-1', () => undefined);
  await edge.install({
    rules: [rule('honest.localhost', 'honest'), rule('hanging.localhost', 'hanging')],
    groups: [app('honest', honest), app('hanging', hanging)],
  });
  const quiet = await afterSettling(startLoad({ host: 'honest.localhost', clients: 8, pauseMs: 2 }));
  const rssBefore = process.memoryUsage.rss();
  const statuses = new Map<number, number>();
  const agent = new http.Agent({ keepAlive: true });
  const hung = Array.from({ length: CLIENTS }, () => {
    const request = http.get({ host: '127.0.0.1', port: edge.port, agent, headers: { host: 'hanging.localhost' } }, (response) => {
      statuses.set(response.statusCode ?? 0, (statuses.get(response.statusCode ?? 0) ?? 0) + 1);
      response.resume();
    });
    request.on('error', () => undefined);
    return request;
  });
  await until('all that is too much has been sent away', () => (statuses.get(503) ?? 0) === CLIENTS - 1024, LONGEST_MS);
  assert.equal(edge.edge.health().open, 1024, 'what one Instance may leave unanswered');
  const loud = await afterSettling(startLoad({ host: 'honest.localhost', clients: 8, pauseMs: 2 }));
  const rss = process.memoryUsage.rss() - rssBefore;
  const [quietMs, loudMs] = [percentile(quiet, 0.99), percentile(loud, 0.99)];
  t.diagnostic(
    `p99 ${quietMs.toFixed(1)} ms alone, ${loudMs.toFixed(1)} ms beside ${CLIENTS} clients of an App that hangs; ${(rss / 2 ** 20).toFixed(0)} MiB more for Edge and clients together`,
  );
  assert.equal(loud.filter((sample) => !sample.ok).length, 0);
  assert.ok(loudMs < Math.max(50, quietMs * 3), `${loudMs} ms`);
  assert.ok(rss < 256 * 2 ** 20);
  for (const request of hung) request.socket?.resetAndDestroy();
  agent.destroy();
  await until('nothing is left of it', () => edge.edge.health().open === 0);
});
