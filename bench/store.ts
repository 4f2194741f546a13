// Measures the store on this machine's disk: durable commits one after the other and from 32 committers at once, reads, the view's
// costs at 10,000 records, and opening. Run: node bench/store.ts [--json] [--folder=/on/the/disk]

import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../src/lib/clock.ts';
import { newId } from '../src/lib/id.ts';
import { defineCollection } from '../src/store/collection.ts';
import { createMemoryStore } from '../src/store/memory.ts';
import { create, update } from '../src/store/records.ts';
import { openSqliteStore } from '../src/store/sqlite.ts';
import type { Store } from '../src/store/store.ts';
import { createView } from '../src/store/view.ts';
import { runBench } from './report.ts';
import type { Figure } from './report.ts';

const SECONDS = 2;
const RECORDS = 10_000;
const VALUE = 'x'.repeat(1000);

interface Thing {
  readonly id: string;
  readonly name: string;
  readonly owner: string;
  readonly state: string;
  readonly text: string;
}
const things = defineCollection<Thing>({
  name: 'things',
  uniqueName: (thing) => thing.name,
  indexes: { owner: (thing) => thing.owner, state: (thing) => thing.state },
});

const figures: Figure[] = [];

function report(name: string, value: number, unit: string): void {
  figures.push({ name, value, unit });
}

/** Milliseconds that `run` takes, the median of `times`. */
async function medianMs(times: number, run: (round: number) => unknown): Promise<number> {
  const taken: number[] = [];
  for (let round = 0; round < times; round += 1) {
    const began = systemClock.monotonic();
    await run(round);
    taken.push(systemClock.monotonic() - began);
  }
  return taken.sort((a, b) => a - b)[Math.floor(times / 2)] ?? 0;
}

async function commitRate(store: Store, committers: number): Promise<number> {
  const began = systemClock.monotonic();
  let count = 0;
  const commitOn = async (committer: number): Promise<void> => {
    while (systemClock.monotonic() - began < SECONDS * 1000) {
      const key = `bench/${committer}/${count % 1000}`;
      await store.commit({ compare: [], writes: [{ kind: 'put', key, value: VALUE }] });
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: committers }, (_, committer) => commitOn(committer)));
  return (count * 1000) / (systemClock.monotonic() - began);
}

async function measureCommits(name: string, store: Store): Promise<void> {
  report(`${name}: commits of 1 kB, one after the other`, await commitRate(store, 1), '/s');
  report(`${name}: commits of 1 kB, 32 at once`, await commitRate(store, 32), '/s');
  report(`${name}: get`, (await medianMs(2000, (round) => store.get(`bench/0/${round % 1000}`))) * 1000, 'µs');
  report(`${name}: list of a page of 1,000`, await medianMs(20, () => store.list({ prefix: 'bench/' })), 'ms');
}

async function measureView(name: string, store: Store): Promise<void> {
  const running = createView({ store, collections: [things], clock: systemClock });
  await running.start();
  const { view } = running;
  for (let at = 0; at < RECORDS; at += 50) {
    const records = Array.from({ length: 50 }, (_, index): Thing => {
      const number = at + index;
      return { id: newId(), name: `n${number}`, owner: `o${number % 100}`, state: 'ready', text: VALUE };
    });
    await view.commit(...records.map((record) => create(things, record)));
  }
  const ids = view.list(things).map(({ document }) => document.id);
  const change = async (round: number): Promise<void> => {
    const current = view.get(things, ids[(round * 7919) % ids.length] ?? '');
    if (current !== undefined)
      await view.commit(update(things, current, { ...current.document, state: round % 2 === 0 ? 'ready' : 'failed' }));
  };
  report(`${name}: view: update until visible, ${RECORDS} records`, (await medianMs(2000, change)) * 1000, 'µs');
  const listMs = await medianMs(50, async (round) => {
    await change(round);
    const began = systemClock.monotonic();
    view.list(things);
    view.by(things, 'state', 'ready');
    listed.push(systemClock.monotonic() - began);
  });
  report(`${name}: view: update, then list all and by index`, listMs, 'ms');
  report(`${name}: view: of that the lists`, listed.sort((a, b) => a - b)[Math.floor(listed.length / 2)] ?? 0, 'ms');
  report(`${name}: view: list again`, (await medianMs(1000, () => view.list(things))) * 1000, 'µs');
  await running.stop();
  const again = createView({ store, collections: [things], clock: systemClock });
  const began = systemClock.monotonic();
  await again.start();
  report(`${name}: view: start with ${RECORDS} records`, systemClock.monotonic() - began, 'ms');
  await again.stop();
}
const listed: number[] = [];

await runBench(async () => {
  const folder = mkdtempSync(
    join(process.argv.find((word) => word.startsWith('--folder='))?.slice('--folder='.length) ?? tmpdir(), 'libra-bench-'),
  );
  try {
    const path = join(folder, 'store.db');
    const sqlite = await openSqliteStore({ path, clock: systemClock });
    await measureCommits('sqlite', sqlite);
    await measureView('sqlite', sqlite);
    await sqlite.close();
    report('sqlite: file', statSync(path).size / 1e6, 'MB');
    const began = systemClock.monotonic();
    const reopened = await openSqliteStore({ path, clock: systemClock });
    report('sqlite: open', systemClock.monotonic() - began, 'ms');
    await reopened.close();
    const memory = createMemoryStore({ clock: systemClock });
    await measureCommits('memory', memory);
    await measureView('memory', memory);
    await memory.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
  return { bench: 'Store', figures };
});
