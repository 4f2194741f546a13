// Everything that must hold before a commit, two at a time, with the time of each: types, lint, format, unused code, unit tests,
// architecture, golden files.

import { spawn } from 'node:child_process';
import { globSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = (name: string): string => join(root, 'node_modules/.bin', name);

interface Check {
  readonly name: string;
  readonly argv: readonly string[];
}

/** Folders whose tests start no processes and share no state: one process runs them all, which saves most of their time. */
const PURE = 'lib,model,api,cli,control,proxy';
const OTHERS = 'agent,blob,driver,edge,keeper,roles,store,sys,tunnel';
const isolated = globSync(`src/{${OTHERS}}/**/*.test.ts`, { cwd: root }).length;
const pure = globSync(`src/{${PURE}}/**/*.test.ts`, { cwd: root }).length;
if (isolated + pure !== globSync('src/**/*.test.ts', { cwd: root }).length)
  throw new Error('A folder with tests is in neither list of check.ts.');

const tests = (...words: readonly string[]): readonly string[] => [process.execPath, 'scripts/test.ts', '--test-reporter=dot', ...words];

// The longest first: two run at a time.
const checks: readonly Check[] = [
  { name: 'unit tests with processes', argv: tests('--test-concurrency=2', `src/{${OTHERS}}/**/*.test.ts`) },
  {
    name: 'unit tests without, architecture, guides, goldens',
    argv: tests('--test-isolation=none', `src/{${PURE}}/**/*.test.ts`, 'test/*.test.ts', 'test/golden/*.test.ts'),
  },
  { name: 'types', argv: [bin('tsc'), '--pretty', 'false'] },
  { name: 'types (isomorphic folders)', argv: [bin('tsc'), '-p', 'tsconfig.isomorphic.json', '--pretty', 'false'] },
  { name: 'lint', argv: [bin('oxlint'), '--type-aware', 'src', 'test', 'bench', 'scripts'] },
  { name: 'format', argv: [bin('oxfmt'), '--check', 'src', 'test', 'bench', 'scripts'] },
  { name: 'unused code', argv: [bin('knip')] },
];

function run(check: Check): Promise<boolean> {
  const began = performance.now();
  return new Promise((resolve) => {
    const [command = '', ...rest] = check.argv;
    const child = spawn(command, rest, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    const output: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
    child.on('close', (code) => {
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      console.log(`${code === 0 ? 'ok  ' : 'FAIL'} ${check.name} (${seconds} s)`);
      if (code !== 0) process.stdout.write(Buffer.concat(output));
      resolve(code === 0);
    });
  });
}

const began = performance.now();
const queue = [...checks];
const results: boolean[] = [];
const worker = async (): Promise<void> => {
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) results.push(await run(next));
};
await Promise.all([worker(), worker()]);
console.log(`${results.every(Boolean) ? 'All checks passed' : 'Checks failed'} in ${((performance.now() - began) / 1000).toFixed(1)} s.`);
process.exitCode = results.every(Boolean) ? 0 : 1;
