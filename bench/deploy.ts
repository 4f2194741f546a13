// From `libra deploy examples/hello` to its first answer through the Edge, on a warm platform: once as a new App, then as further
// Releases of it, and the share of the command line in it. Run: node bench/deploy.ts [--json] [--check]

import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Platform, root, until } from '../test/platform.ts';
import { median, quantile, runBench } from './report.ts';
import type { Figure } from './report.ts';
import { variants } from './variants.ts';

const ROUNDS = 9;
const TARGET_MS = 2000;

interface Deployed {
  readonly answerMs: number;
  readonly doneMs: number;
}

/** One deploy, asked through the Edge all the while, until the text of this very Release came. */
async function deployOnce(platform: Platform, folder: string, app: string, mark: string): Promise<Deployed> {
  cpSync(join(root, 'examples/hello'), folder, { recursive: true });
  const edit = (file: string, from: string, to: string): void => {
    const text = readFileSync(join(root, 'examples/hello', file), 'utf8');
    if (!text.includes(from)) throw new Error(`examples/hello/${file} has no ${from}`);
    writeFileSync(join(folder, file), text.replace(from, to));
  };
  edit('libra.yaml', 'app: hello', `app: ${app}`);
  edit('server.js', 'Hello from Libra!', mark);
  const began = performance.now();
  const deploy = platform.cli('deploy', folder, '--yes');
  await until(`${app} answers ${mark}`, 30_000, async () => (await platform.get(`${app}.localhost`)).body.startsWith(mark));
  const answerMs = performance.now() - began;
  const result = await deploy;
  if (result.code !== 0) throw new Error(`libra deploy: ${result.stderr}`);
  return { answerMs, doneMs: performance.now() - began };
}

await runBench(async () => {
  const figures: Figure[] = [];
  for (const variant of variants()) {
    const platform = new Platform({ program: variant.program });
    try {
      await platform.start();
      const folder = join(platform.data, 'sources');
      await deployOnce(platform, folder, 'warm', 'warm');
      const fresh: Deployed[] = [];
      const again: Deployed[] = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        fresh.push(await deployOnce(platform, folder, `fresh-${round}`, `fresh ${round}`));
        const removed = await platform.cli('apps', 'delete', `fresh-${round}`, '--yes');
        if (removed.code !== 0) throw new Error(`libra apps delete: ${removed.stderr}`);
        again.push(await deployOnce(platform, folder, 'warm', `again ${round}`));
      }
      const add = (name: string, values: readonly number[]): void => {
        figures.push({ name: `${name}, ${variant.name}, median of ${ROUNDS}`, value: median(values), unit: 'ms', target: TARGET_MS });
        figures.push({ name: `${name}, ${variant.name}, slowest`, value: quantile(values, 1), unit: 'ms' });
      };
      add(
        'new App to first answer',
        fresh.map((one) => one.answerMs),
      );
      add(
        'new Release to first answer',
        again.map((one) => one.answerMs),
      );
      add(
        'new Release, healthy and drained',
        again.map((one) => one.doneMs),
      );
    } finally {
      await platform.dispose();
    }
  }
  return { bench: 'Deploy', figures };
});
