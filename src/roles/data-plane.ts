// The data plane as a process: the Edge on listening sockets that the keeper handed over.

import { readFile } from 'node:fs/promises';
import { flushCompileCache } from 'node:module';
import { runDataPlane } from './run-data-plane.ts';
import { systemClock } from '../lib/clock.ts';
import { openFileLog } from '../sys/logger.ts';
import { settleMemory } from '../sys/settle.ts';
import type { DataPlaneFile } from './data-plane-process.ts';
import { settleFileModes } from './program.ts';

/** @param words the path of its options file. Resolves when it was told to end and its last request has ended. */
export async function dataPlaneRole(words: readonly string[]): Promise<void> {
  settleFileModes();
  // Written by librad of the same version, readable by this user alone.
  const file = JSON.parse(await readFile(words[0] ?? '', 'utf8')) as DataPlaneFile;
  const fileLog = openFileLog({ path: file.logFile, level: 'info', name: 'edge' });
  const dataPlane = await runDataPlane(file.options, { clock: systemClock, log: fileLog.log, signals: true });
  flushCompileCache();
  settleMemory(systemClock);
  await dataPlane.stopped;
  await fileLog.close();
  process.exit(0);
}
