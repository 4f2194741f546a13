// The program that data-plane.test.ts starts as a process of its own: the data plane with options from its first argument. For tests.

import { systemClock } from '../lib/clock.ts';
import { silentLog } from '../sys/log.ts';
import { runDataPlane } from './run-data-plane.ts';
import type { DataPlaneOptions } from './run-data-plane.ts';

const options = JSON.parse(process.argv[2] ?? '') as DataPlaneOptions; // written by the test beside this file
const dataPlane = await runDataPlane(options, { clock: systemClock, log: silentLog, signals: true });
process.stdout.write('serving\n');
await dataPlane.stopped;
process.exit(0);
