// How long one command of the command line takes, from the shell's view: `libra apps` on a running platform, and `libra version`.
// Run: node bench/cli.ts [--json] [--check]

import type { Platform } from '../test/platform.ts';
import { median, quantile, runBench } from './report.ts';
import type { Figure } from './report.ts';
import { variants, withHello } from './variants.ts';

const ROUNDS = 21;
const APPS_TARGET_MS = 100;

async function wallTimesMs(platform: Platform, ...words: readonly string[]): Promise<readonly number[]> {
  const taken: number[] = [];
  // The first one fills the compile cache.
  for (let round = 0; round <= ROUNDS; round += 1) {
    const began = performance.now();
    const result = await platform.cli(...words);
    if (result.code !== 0) throw new Error(`libra ${words.join(' ')}: ${result.stderr}`);
    if (round > 0) taken.push(performance.now() - began);
  }
  return taken;
}

await runBench(async () => {
  const figures: Figure[] = [];
  for (const variant of variants()) {
    await withHello(variant, async (platform) => {
      const apps = await wallTimesMs(platform, 'apps');
      figures.push({ name: `libra apps, ${variant.name}, median of ${ROUNDS}`, value: median(apps), unit: 'ms', target: APPS_TARGET_MS });
      figures.push({ name: `libra apps, ${variant.name}, slowest tenth from`, value: quantile(apps, 0.9), unit: 'ms' });
      figures.push({
        name: `libra version, ${variant.name}, median of ${ROUNDS}`,
        value: median(await wallTimesMs(platform, 'version')),
        unit: 'ms',
      });
    });
  }
  return { bench: 'Command line', figures };
});
