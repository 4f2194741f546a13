// Every benchmark, one after the other, as one command; the names of some as words run those. With --json one JSON value per line,
// with --check a missed target is a failure.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const words = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const flags = process.argv.slice(2).filter((word) => word.startsWith('--'));
/** What says in its first lines how it is run is a benchmark; the other files here are parts of them. */
const names = readdirSync(join(root, 'bench'))
  .filter(
    (file) => file.endsWith('.ts') && /^\/\/ .*Run: node bench\//mu.test(readFileSync(join(root, 'bench', file), 'utf8').slice(0, 1000)),
  )
  .map((file) => file.replace(/\.ts$/u, ''))
  .sort();
const unknown = words.filter((word) => !names.includes(word));
if (unknown.length > 0) {
  console.error(`There is no benchmark ${unknown.join(', ')}. There are: ${names.join(', ')}.`);
  process.exit(2);
}
for (const name of words.length > 0 ? words : names) {
  const { status } = spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', join(root, 'bench', `${name}.ts`), ...flags], {
    cwd: root,
    stdio: 'inherit',
  });
  if (status !== 0) process.exitCode = 1;
}
