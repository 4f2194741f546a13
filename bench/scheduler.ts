// Measures the pure scheduler on clusters of ten thousand Nodes: spreading ten million Instances evenly, counting how many with cores of their
// own fit, and placing a deployment of a thousand. Run: node bench/scheduler.ts [--json] [--check]

import { bindCapacity } from '../src/control/scheduler/cores.ts';
import { schedule } from '../src/control/scheduler/schedule.ts';
import { aRequest, aRoom } from '../src/control/scheduler/scheduler-fixture.ts';
import { spreadEvenly } from '../src/control/scheduler/strategies.ts';
import type { Candidate } from '../src/control/scheduler/strategies.ts';
import { systemClock } from '../src/lib/clock.ts';
import { createSeededRandom } from '../src/lib/id.ts';
import { median, runBench } from './report.ts';

const NODES = 10_000;
const ROOM = 1_024;
const CORES = 24;
const PLACED = 1_000;
const ROUNDS = 15;
/** Eru's own figures are 70 and 413 ms; what is asked for here is less than half and a quarter of them. */
const EVENLY_MS = 30;
const BOUND_MS = 100;

function ms(run: () => void): number {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const began = systemClock.monotonic();
    run();
    times.push(systemClock.monotonic() - began);
  }
  return median(times);
}

const random = createSeededRandom(1);
const between = (low: number, high: number): number => low + Math.floor(random.next() * (high - low + 1));

const candidates = Array.from({ length: NODES }, (_unused, index): Candidate => ({
  name: `node-${index}`,
  count: between(0, 50),
  capacity: ROOM,
  usage: 0,
  rate: 0,
}));
/** Some cores are free, some begun, some gone. */
const cores = Array.from({ length: NODES }, () => Array.from({ length: CORES }, () => [100, 100, 100, 70, 40, 0][between(0, 5)] ?? 0));
const rooms = Array.from({ length: NODES }, (_unused, index) =>
  aRoom({ id: `node-${index}`, capacity: { cpu: CORES, memoryBytes: 2 ** 36 }, used: { cpu: between(0, CORES), memoryBytes: 0 } }),
);
const requests = Array.from({ length: PLACED }, (_unused, index) =>
  aRequest({ key: String(index), ask: { cpu: 1, bind: false, memoryBytes: 2 ** 28 } }),
);

function check(isRight: boolean, what: string): void {
  if (!isRight) throw new Error(`${what} is not as it should be`);
}

await runBench(async () => {
  const need = NODES * ROOM - 1;
  let fits = 0;
  const evenly = ms(() => {
    const spread = spreadEvenly(candidates, need, 0);
    check(spread.ok && spread.counts.reduce((sum, each) => sum + each, 0) === need, 'the spread');
  });
  const bound = ms(() => {
    fits = 0;
    for (const free of cores) fits += bindCapacity(free, 130);
  });
  check(fits > NODES, 'the capacity');
  const placing = ms(() => check(schedule(rooms, requests).placed.size === PLACED, 'the Plan'));
  return {
    bench: 'scheduler',
    figures: [
      { name: `${NODES} Nodes: ${need} Instances spread evenly`, value: evenly, unit: 'ms', target: EVENLY_MS },
      { name: `${NODES} Nodes of ${CORES} cores: how many with 1.3 of their own fit`, value: bound, unit: 'ms', target: BOUND_MS },
      { name: `${NODES} Nodes: a Plan for ${PLACED} Instances`, value: placing, unit: 'ms' },
    ],
  };
});
