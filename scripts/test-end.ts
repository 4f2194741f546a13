// Loaded into every test process before its file: a file that does not end after its last test has left something running. It is told by
// name, with what keeps it, and fails; it would hold up the whole suite else, or hide a leak if it were simply ended.

import { basename } from 'node:path';
import { after } from 'node:test';
import { isMainThread } from 'node:worker_threads';

/** Cleaning up that is registered later comes after this, so it gets its time. Counted in turns: one that takes all of the thread is one. */
const GRACE_TURNS = 60;
const TURN_MS = 1_000;

const file = process.argv[1] ?? '';
// Workers and forks get the same words of the command line and are no test files.
if (isMainThread && process.env['NODE_TEST_CONTEXT'] !== undefined && file.endsWith('.test.ts')) {
  after(() => {
    let turns = 0;
    setInterval(() => {
      turns += 1;
      if (turns < GRACE_TURNS) return;
      const counts = new Map<string, number>();
      for (const kind of process.getActiveResourcesInfo()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
      const left = Array.from(counts, ([kind, count]) => `${count} ${kind}`).join(', ');
      console.error(`${basename(file)} does not end after its tests: something is not stopped or closed. What keeps it: ${left}.`);
      process.exit(1);
    }, TURN_MS).unref();
  });
}
