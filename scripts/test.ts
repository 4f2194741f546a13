// The whole test suite as one command. It fails when no test ran, lists every skip with its reason at the end, and keeps a compile
// cache so that the many test processes start fast.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
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
/**
 * Suites that wait more than they work, one after the other beside the two lanes of all others: those that share the one Docker that a
 * machine can have, and those for which leases of etcd have to run out or an authority has to look. Both lanes take about as long.
 */
const WAITS = /lacking\([^)]*'(?:dockerd|etcd|pebble)'/u;
const waiting = files.filter((file) => WAITS.test(readFileSync(join(root, file), 'utf8')));
const others = files.filter((file) => !waiting.includes(file));

/** No file may take longer, so that one that hangs fails with its name. */
const FILE_MS = process.env['LIBRA_TEST_FULL'] === '1' ? 3_600_000 : 600_000;

interface Lane {
  readonly child: ChildProcess;
  readonly reportFile: string;
}

function startLane(lane: readonly string[], concurrency: number): Lane {
  const reportFile = join(folder, `report-${concurrency}.json`);
  const reporters = flags.some((flag) => flag.startsWith('--test-reporter'))
    ? []
    : ['--test-reporter=spec', '--test-reporter-destination=stdout'];
  const destinations = flags.filter((flag) => flag.startsWith('--test-reporter=')).map(() => '--test-reporter-destination=stdout');
  const child = spawn(
    process.execPath,
    [
      '--test',
      `--test-concurrency=${concurrency}`,
      `--test-timeout=${FILE_MS}`,
      '--import=./scripts/test-end.ts',
      '--disable-warning=ExperimentalWarning',
      ...flags,
      ...destinations,
      ...reporters,
      '--test-reporter=./scripts/test-report.ts',
      `--test-reporter-destination=${reportFile}`,
      ...lane,
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
  return { child, reportFile };
}

function printReport(reports: readonly TestReport[]): boolean {
  const skipped = reports.flatMap((report) => report.skipped);
  const ran = reports.reduce((sum, report) => sum + report.ran, 0);
  if (skipped.length > 0) {
    console.log(`\nSkipped, because this machine lacks something (${skipped.length}):`);
    for (const { file, name, reason } of skipped) console.log(`  ${file}: ${name}\n    ${reason}`);
  }
  if (reports.length > 1) console.log(`\n${ran} tests ran.`);
  if (ran === 0) console.error('No test ran.');
  const nothingMayBeSkipped = (process.env['LIBRA_TEST_REQUIRE'] ?? '').split(',').includes('all');
  if (nothingMayBeSkipped && skipped.length > 0) console.error('LIBRA_TEST_REQUIRE says that nothing may be skipped.');
  return ran > 0 && !(nothingMayBeSkipped && skipped.length > 0);
}

const lanes = [...(others.length > 0 ? [startLane(others, 2)] : []), ...(waiting.length > 0 ? [startLane(waiting, 1)] : [])];
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => lanes.forEach(({ child }) => child.kill(signal)));
const ends = await Promise.all(
  lanes.map(async ({ child }) => {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null]; // as node:child_process says
    return { code, signal };
  }),
);
process.exitCode = Math.max(...ends.map(({ code, signal }) => code ?? (signal === null ? 1 : 130)));
try {
  if (ends.every(({ signal }) => signal === null)) {
    // Written by our own reporter; missing when the runner was ended.
    const reports = lanes.map(({ reportFile }) => JSON.parse(readFileSync(reportFile, 'utf8')) as TestReport);
    if (!printReport(reports)) process.exitCode = 1;
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
