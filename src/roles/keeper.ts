// The keeper as a process: nothing but its own code is loaded, because it must stay small and never need a restart.

import { flushCompileCache } from 'node:module';
import { runKeeper } from '../keeper/keeper.ts';
import { systemClock } from '../lib/clock.ts';
import { settleMemory } from '../sys/settle.ts';
import { programVersion, settleFileModes } from './program.ts';

/** @param words the path of its socket. Resolves when the keeper is no longer needed. */
export async function keeperRole(words: readonly string[]): Promise<void> {
  const [socketPath] = words;
  settleFileModes();
  if (socketPath === undefined) throw new Error('keeper: the path of the socket is missing');
  // Ctrl-C in the terminal that started the platform is not meant for the keeper; ending it takes a request.
  process.on('SIGINT', () => undefined);
  process.on('SIGHUP', () => undefined);
  const keeper = await runKeeper({ socketPath, program: programVersion });
  flushCompileCache();
  settleMemory(systemClock);
  await keeper.ended;
  await keeper.stop();
  process.exit(0);
}
