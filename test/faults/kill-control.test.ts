// kill −9 of a control plane at random moments of a Deployment of many Instances on two machines: after its restart, and on the other
// control plane, every Instance is there once, no program is left over, and what is counted as given away is what runs.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { createSeededRandom } from '../../src/lib/id.ts';
import { FINAL_DEPLOYMENT_PHASES } from '../../src/model/documents.ts';
import type { DeploymentPhase } from '../../src/model/documents.ts';
import { leaderOf, withPair } from '../fixtures/control-planes.ts';
import type { Pair } from '../fixtures/control-planes.ts';
import { sized } from '../full-size.ts';
import { until } from '../platform.ts';
import type { Platform } from '../platform.ts';
import { lacking } from '../requirements.ts';

const POINTS = sized({ usual: 1, full: 20, setting: 'LIBRA_TEST_KILL_POINTS' });
const SEED = Number(process.env['LIBRA_TEST_SEED'] ?? 20_261_127);
const INSTANCES = sized({ usual: 30, full: 60 });
const CPU = 0.01;
const MEMORY = 4 * 1024 * 1024;
const PARAMS = { app: 'many', environment: 'production' };

/** A tiny program, of which every version is another one. */
const manifest = (version: number): string => `app: many
env: { VERSION: "${version}" }
entrypoints:
  worker:
    command: sleep 100000
    instances: ${INSTANCES}
    resources: { cpu: ${CPU}, memory: 4Mi }
    rollout: { surge: 20, unavailable: 0, deadline: 2m, drain: 1s }
    stop: { signal: SIGKILL }
`;

/** Ids of Instances that have a live program on one of the machines; one for each process group. */
function programs({ first, second }: Pair): readonly string[] {
  const found: string[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/u.test(name)) continue;
    try {
      if (!/^(?:\S*\/)?sleep\0/u.test(readFileSync(`/proc/${name}/cmdline`, 'utf8'))) continue;
      const variables = readFileSync(`/proc/${name}/environ`, 'utf8').split('\0');
      if (![first, second].some(({ data }) => variables.some((variable) => variable.includes(data)))) continue;
      const id = variables.find((variable) => variable.startsWith('LIBRA_INSTANCE='));
      if (id !== undefined) found.push(id.slice('LIBRA_INSTANCE='.length));
    } catch {
      // Gone meanwhile.
    }
  }
  return found.sort();
}

async function begin(platform: Platform, version: number): Promise<number> {
  const client = platform.client();
  const release = await client.releases.create({
    params: { app: 'many' },
    body: { manifest: manifest(version), bundle: await bundleOf(platform) },
    idempotencyKey: `release-${version}`,
  });
  const made = await client.deployments.create({
    params: PARAMS,
    body: { cause: 'deploy', release: release.number },
    idempotencyKey: `deployment-${version}`,
  });
  return made.number;
}

/** An empty folder, as a tar. */
async function bundleOf(platform: Platform): Promise<string> {
  const bytes = new Uint8Array(1024);
  const digest = `sha256:${Buffer.from(await crypto.subtle.digest('SHA-256', bytes)).toString('hex')}`;
  await platform.client().blobs.upload({ params: { digest }, query: { offset: 0, final: true }, body: bytes });
  return digest;
}

const phaseOf = async (platform: Platform, deployment: number): Promise<DeploymentPhase> =>
  (await platform.client().deployments.get({ params: { ...PARAMS, deployment: String(deployment) } })).phase;

/** What is not as it has to be; null: all is. */
async function wrong(pair: Pair, asked: Platform, deployment: number): Promise<string | null> {
  const client = asked.client();
  const { items: all } = await client.instances.list({ params: PARAMS, query: { all: true } });
  const live = all.filter(({ phase }) => phase === 'running');
  const others = all.filter(({ phase }) => !['running', 'stopped', 'failed', 'succeeded', 'lost'].includes(phase));
  if (others.length > 0) return `${others.length} Instances are ${others[0]?.phase}`;
  if (live.some((one) => one.deployment !== deployment)) return 'an Instance of an older Deployment runs';
  const slots = new Set(live.map(({ slot }) => slot));
  if (live.length !== INSTANCES || slots.size !== INSTANCES) return `${live.length} Instances in ${slots.size} slots`;
  const running = programs(pair);
  const ids = live.map(({ id }) => id).sort();
  if (running.join(' ') !== ids.join(' ')) {
    const orphans = running.filter((id) => !ids.includes(id)).length;
    return `${running.length} programs for ${ids.length} Instances, ${orphans} of none`;
  }
  const { items: nodes } = await client.nodes.list({});
  for (const { name, requested } of nodes) {
    const here = live.filter(({ node }) => node === name).length;
    const cpu = Math.round(here * CPU * 1000) / 1000;
    if (requested.instances !== here || requested.cpu !== cpu || requested.memoryBytes !== here * MEMORY)
      return `Node ${name} counts ${requested.instances} Instances, ${requested.cpu} cpu and ${requested.memoryBytes} bytes for ${here}`;
  }
  return null;
}

async function rightOn(pair: Pair, asked: Platform, deployment: number, what: string): Promise<void> {
  let last: string | null = null;
  await until(what, 60_000, async () => {
    last = await wrong(pair, asked, deployment);
    return last === null;
  }).catch((error: unknown) => {
    throw new Error(last ?? 'nothing is wrong any more', { cause: error });
  });
}

interface Round {
  readonly random: { next(): number };
  readonly number: number;
  /** Of a Deployment that nothing happens to. */
  readonly usualMs: number;
}

/** How long it took from the kill to the end of the Deployment, milliseconds. */
async function round(pair: Pair, { random, number, usualMs }: Round): Promise<{ readonly tookMs: number; readonly phase: string }> {
  const leader = (await leaderOf(pair.first)) === 'one' ? pair.first : pair.second;
  const other = leader === pair.first ? pair.second : pair.first;
  // Asked of the one or the other, and the one that leads or the one that stands by is killed.
  const deployment = await begin(number % 2 === 0 ? leader : other, number);
  const killed = number % 4 === 3 ? other : leader;
  const survivor = killed === leader ? other : leader;
  await new Promise((resolve) => setTimeout(resolve, random.next() * usualMs));
  const phase = await phaseOf(survivor, deployment).catch(() => 'unknown');
  const killedMs = performance.now();
  await killed.kill();
  // Sometimes the same one leads again at once, sometimes the other one has taken over before.
  if (number % 2 === 0 && killed === leader)
    await until(
      'the other one leads',
      15_000,
      async () => (await leaderOf(survivor)) !== null && (await leaderOf(survivor)) === nameOf(pair, survivor),
    );
  await killed.start();
  await until('the Deployment has ended', 90_000, async () => FINAL_DEPLOYMENT_PHASES.has(await phaseOf(survivor, deployment)));
  const tookMs = performance.now() - killedMs;
  assert.equal(await phaseOf(survivor, deployment), 'succeeded');
  await rightOn(pair, survivor, deployment, 'all is as it has to be on the other control plane');
  await rightOn(pair, killed, deployment, 'and on the one that was killed');
  return { tookMs, phase };
}

const nameOf = ({ first }: Pair, platform: Platform): string => (platform === first ? 'one' : 'two');

describe('kill −9 of control', { skip: lacking('etcd') }, () => {
  test(`at ${POINTS} points of a Deployment of ${INSTANCES} Instances, seed ${SEED}`, (t) =>
    withPair(async (pair) => {
      const random = createSeededRandom(SEED);
      await pair.first.client().apps.create({ body: { name: 'many' } });
      const startedMs = performance.now();
      let usualMs = 0;
      for (const version of [1, 2]) {
        const beganMs = performance.now();
        const deployment = await begin(pair.second, version);
        await until('it has succeeded', 120_000, async () => (await phaseOf(pair.second, deployment)) === 'succeeded');
        usualMs = performance.now() - beganMs;
        await rightOn(pair, pair.first, deployment, 'all is as it has to be');
      }
      const took: number[] = [];
      const at = new Map<string, number>();
      for (let number = 3; number < 3 + POINTS; number += 1) {
        const { tookMs, phase } = await round(pair, { random, number, usualMs });
        took.push(tookMs);
        at.set(phase, (at.get(phase) ?? 0) + 1);
      }
      took.sort((a, b) => a - b);
      const seconds = (ms: number | undefined): string => ((ms ?? 0) / 1000).toFixed(1);
      t.diagnostic(
        `a Deployment takes ${seconds(usualMs)} s; killed while it was ${[...at].map(([phase, count]) => `${phase} (${count})`).join(', ')}; it ended ${seconds(took[0])} to ${seconds(took.at(-1))} s after the kill, half of them within ${seconds(took[took.length >> 1])} s; ${seconds(performance.now() - startedMs)} s in all`,
      );
    }));
});
