// The whole test suite as one command. It fails when no test ran, lists every skip with its reason at the end, and keeps a compile
// cache so that the many test processes start fast.

import { spawn } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { TestReport } from './test-report.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const patterns = process.argv.slice(2).filter((word) => !word.startsWith('--'));
const flags = process.argv.slice(2).filter((word) => word.startsWith('--'));
const files = globSync(patterns.length > 0 ? patterns : ['src/**/*.test.ts', 'test/**/*.test.ts', 'examples/**/*.test.ts'], { cwd: root })
  .filter((file) => !file.includes('node_modules'))
  .sort();
if (files.length === 0) {
  console.error(`No test file matches ${patterns.join(' ')}.`);
  process.exit(1);
}
const folder = mkdtempSync(join(tmpdir(), 'libra-tests-'));
const reportFile = join(folder, 'report.json');
const reporters = flags.some((flag) => flag.startsWith('--test-reporter'))
  ? []
  : ['--test-reporter=spec', '--test-reporter-destination=stdout'];
const destinations = flags.filter((flag) => flag.startsWith('--test-reporter=')).map(() => '--test-reporter-destination=stdout');
const child = spawn(
  process.execPath,
  [
    '--test',
    '--test-concurrency=2',
    '--test-timeout=600000',
    '--disable-warning=ExperimentalWarning',
    ...flags,
    ...destinations,
    ...reporters,
    '--test-reporter=./scripts/test-report.ts',
    `--test-reporter-destination=${reportFile}`,
    ...files,
  ],
  {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      NODE_COMPILE_CACHE: join(root, 'node_modules/.cache/compile'),
      PATH: `${join(root, 'node_modules/.bin')}:${process.env['PATH'] ?? ''}`,
    },
  },
);

function printReport(): boolean {
  // Written by our own reporter; missing when the runner was ended.
  const report = JSON.parse(readFileSync(reportFile, 'utf8')) as TestReport;
  if (report.skipped.length > 0) {
    console.log(`\nSkipped, because this machine lacks something (${report.skipped.length}):`);
    for (const { file, name, reason } of report.skipped) console.log(`  ${file}: ${name}\n    ${reason}`);
  }
  if (report.ran === 0) console.error('No test ran.');
  const nothingMayBeSkipped = (process.env['LIBRA_TEST_REQUIRE'] ?? '').split(',').includes('all');
  if (nothingMayBeSkipped && report.skipped.length > 0) console.error('LIBRA_TEST_REQUIRE says that nothing may be skipped.');
  return report.ran > 0 && !(nothingMayBeSkipped && report.skipped.length > 0);
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => {
  process.exitCode = code ?? (signal === null ? 1 : 130);
  try {
    if (signal === null && !printReport()) process.exitCode = 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
