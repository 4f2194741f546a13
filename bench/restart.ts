// How long the platform takes from the loss of a process to full service: control ready, the Node and its Instance seen healthy, the
// Edge current. All the while the Edge is asked on kept and on new connections; refused or wrong answers are counted.
// Run: node bench/restart.ts [--json] [--check]

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startLoad } from '../test/fixtures/load.ts';
import type { LoadResult } from '../test/fixtures/load.ts';
import { processesNaming } from '../test/fixtures/processes.ts';
import { Platform, root, until } from '../test/platform.ts';
import { median, runBench } from './report.ts';
import type { Figure } from './report.ts';
import { variants, withHello } from './variants.ts';

/** In a row: the keeper waits longer each time before it starts a program that keeps ending. */
const ROUNDS = 4;
const DEADLINE_MS = 30_000;

/** Resolves when everything works again. */
async function fullService(platform: Platform): Promise<void> {
  const client = platform.client();
  await until('full service', DEADLINE_MS, async () => {
    const [{ edges }, { items }, { items: nodes }] = await Promise.all([
      client.system.status({}),
      client.instances.list({ params: { app: 'hello', environment: 'production' }, query: { all: false } }),
      client.nodes.list({}),
    ]);
    const nodesUp = nodes.length > 0 && nodes.every((node) => node.state === 'up');
    // A killed Edge stays in the list for a while: control cannot know that it serves nobody.
    const edge = edges.find(({ id }) => id.endsWith(`.${pidOf(platform, / data-plane /u)}`));
    return nodesUp && edge?.current === true && items.length > 0 && items.every((one) => one.healthy);
  });
  if ((await platform.get('hello.localhost')).status !== 200) throw new Error('hello does not answer');
}

async function underLoad(platform: Platform, body: () => Promise<void>): Promise<LoadResult> {
  const load = startLoad({
    port: platform.edgePort,
    host: 'hello.localhost',
    keptAlive: 2,
    fresh: 2,
    pauseMs: 5,
    accept: (status, text) => status === 200 && text.startsWith('Hello from Libra!'),
  });
  try {
    await body();
  } catch (error) {
    await load.stop();
    throw error;
  }
  return await load.stop();
}

interface Measured {
  readonly timesMs: readonly number[];
  readonly requests: number;
  readonly failures: readonly string[];
}

/** Kills something again and again under load; `again` resolves when it is back. */
async function rounds(platform: Platform, kill: () => Promise<void>): Promise<Measured> {
  const timesMs: number[] = [];
  const result = await underLoad(platform, async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const began = performance.now();
      await kill();
      await fullService(platform);
      timesMs.push(performance.now() - began);
    }
  });
  return { timesMs, requests: result.requests, failures: result.failures };
}

/** The one process of this platform with these words. */
function pidOf(platform: Platform, words: RegExp): number {
  const found = processesNaming(platform.data).find(({ command }) => command.includes('semi-space') && words.test(command));
  if (found === undefined) throw new Error(`There is no process ${words.source}.`);
  return found.pid;
}

await runBench(async () => {
  const figures: Figure[] = [];
  const add = (name: string, measured: Measured, allowedFailures: number): void => {
    figures.push({ name: `${name}: full service the first time`, value: measured.timesMs[0] ?? Number.NaN, unit: 'ms' });
    figures.push({ name: `${name}: slowest of ${ROUNDS} in a row`, value: Math.max(...measured.timesMs), unit: 'ms' });
    figures.push({
      name: `${name}: failed of ${measured.requests} requests`,
      value: measured.failures.length,
      unit: '',
      target: allowedFailures,
    });
    for (const failure of measured.failures.slice(0, 5)) console.error(failure);
  };
  for (const variant of variants()) {
    await withHello(variant, async (platform) => {
      const killed = await rounds(platform, async () => {
        await platform.kill();
        await platform.start();
      });
      add(`librad killed and started, ${variant.name}`, killed, 0);
      const planeKilled = await rounds(platform, async () => {
        const pid = pidOf(platform, / data-plane /u);
        process.kill(pid, 'SIGKILL');
        await until('another data plane', DEADLINE_MS, () => pidOf(platform, / data-plane /u) !== pid);
      });
      // What was in flight in the killed process is lost: at most one request of each of the four loops a round.
      add(`data plane killed, ${variant.name}`, planeKilled, ROUNDS * 4);
      const stops: number[] = [];
      const starts: number[] = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        const began = performance.now();
        await platform.stop();
        const stopped = performance.now();
        await platform.start();
        await fullService(platform);
        stops.push(stopped - began);
        starts.push(performance.now() - stopped);
      }
      figures.push({ name: `clean stop, ${variant.name}, median of ${ROUNDS}`, value: median(stops), unit: 'ms' });
      figures.push({
        name: `start to full service, ${variant.name}, median of ${ROUNDS}`,
        value: median(starts),
        unit: 'ms',
        target: 3000,
      });
    });
    await detached(variant.program, (measured) => add(`librad killed, brought back by the keeper, ${variant.name}`, measured, 0));
  }
  return { bench: 'Restart', figures };
});

/** In the background nobody starts librad again but the keeper. */
async function detached(program: string, report: (measured: Measured) => void): Promise<void> {
  const platform = new Platform({ program });
  try {
    await platform.startDetached();
    const deployed = await platform.cli('deploy', join(root, 'examples/hello'), '--yes');
    if (deployed.code !== 0) throw new Error(`hello cannot be deployed: ${deployed.stderr}`);
    report(
      await rounds(platform, async () => {
        const file = join(platform.data, 'run/addresses.json');
        const before = readFileSync(file, 'utf8');
        process.kill(platform.addresses.pid, 'SIGKILL');
        await until('another librad', DEADLINE_MS, () => readFileSync(file, 'utf8') !== before);
        platform.readAddresses();
      }),
    );
    await platform.cli('down');
  } finally {
    await platform.dispose();
  }
}
