#!/usr/bin/env node
// The entry of every process of Libra: a role by its name, else a command of the CLI. Together with roles/ the composition root: the
// only place that wires folders together. Everything is loaded when it is needed, because a process is expensive.

import { enableCompileCache } from 'node:module';
import { loadSettings, surroundings } from './config.ts';
import { systemClock } from './lib/clock.ts';
import { compileCacheFolder, LIBRAD_KEY } from './roles/program.ts';

const SAME_PRESS_MS = 500;

enableCompileCache(compileCacheFolder);

async function runCommandLine(argv: readonly string[]): Promise<number> {
  const { runCli } = await import('./cli/program.ts');
  const { createLocalPlatform } = await import('./roles/local-platform.ts');
  const around = surroundings();
  const interrupt = new AbortController();
  let interruptedAtMs = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (!interrupt.signal.aborted) {
      interruptedAtMs = systemClock.monotonic();
      interrupt.abort(new Error(signal));
      return;
    }
    // The second one ends a command that does not listen to the first. One press under npm arrives twice: from the terminal, which
    // tells the whole process group, and from npm, which passes its own on.
    if (systemClock.monotonic() - interruptedAtMs > SAME_PRESS_MS) process.exit(130);
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  const { noColor, url, token } = loadSettings({}, around);
  return await runCli({
    argv,
    settings: { noColor, url, token },
    local: createLocalPlatform(around),
    cwd: process.cwd(),
    streams: {
      // Opened when something is read from it: most commands never do.
      get input() {
        return process.stdin;
      },
      output: process.stdout,
      errors: process.stderr,
    },
    signal: interrupt.signal,
    exit: (code) => process.exit(code),
  });
}

/** Flags of a role as words `--name value`. */
function flagsOf(words: readonly string[]): Record<string, string | undefined> {
  const flags: Record<string, string | undefined> = {};
  for (let index = 0; index + 1 < words.length; index += 2) flags[(words[index] ?? '').replace(/^--/u, '')] = words[index + 1];
  return flags;
}

async function runLibradRole(words: readonly string[]): Promise<void> {
  const { runLibrad } = await import('./roles/librad.ts');
  const stop = new AbortController();
  process.on('SIGTERM', () => stop.abort());
  process.on('SIGINT', () => stop.abort());
  await runLibrad({
    settings: loadSettings(flagsOf(words), surroundings()),
    keeperKey: LIBRAD_KEY,
    signal: stop.signal,
    onReady: () => undefined,
    onProgress: () => undefined,
  });
}

const [first, ...rest] = process.argv.slice(2);
try {
  switch (first ?? '') {
    case 'keeper':
      await (await import('./roles/keeper.ts')).keeperRole(rest);
      break;
    case 'data-plane':
      await (await import('./roles/data-plane.ts')).dataPlaneRole(rest);
      break;
    case 'librad':
      await runLibradRole(rest);
      process.exit(0);
      break;
    default:
      process.exitCode = await runCommandLine(process.argv.slice(2));
  }
} catch (error) {
  process.stderr.write(`libra: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
