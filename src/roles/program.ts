// How this program starts further processes of itself: the same Node, lean memory flags, the same entry file.

import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));

/** Root of the checkout or of the installed package. */
export const programRoot: string = existsSync(join(here, '../package.json')) ? dirname(here) : dirname(dirname(here));

/** The file that Node was started with, so that the bundled program starts itself and not the sources. */
const entry = process.argv[1] ?? join(programRoot, 'src/main.ts');
const isBundled = !entry.endsWith('.ts');

/**
 * Where compiled code is kept; bin/libra says the same. Set as NODE_COMPILE_CACHE it serves the entry file too, and no process loads the
 * TypeScript stripper. An installed package may belong to somebody else: then it is in the user's own folder.
 */
export const compileCacheFolder: string = isBundled ? join(homedir(), '.cache/libra') : join(programRoot, 'node_modules/.cache/libra');

function readVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(join(programRoot, 'package.json'), 'utf8'));
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed ? String(parsed.version) : '0.0.0';
}

export const programVersion: string = readVersion();

/** The static file server as a file of its own, next to what runs: in the sources, or in the bundled program. */
export const staticServerFile: string = join(programRoot, isBundled ? 'program/static-server.js' : 'src/agent/static-server.ts');

/** Flags that keep a long-running process small (measured; docs/decisions/0004-memory.md). */
const LEAN = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=1'] as const;

/**
 * The same for a process that carries requests: a young generation in which what a request makes dies before the next collection, and no
 * threads that help with one of a millisecond (measured; docs/decisions/0011-what-bounds-the-edge.md). Idle it is no larger.
 */
const BUSY = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=4', '--no-parallel-scavenge'] as const;

/** argv of a further process of this program. */
export function programArgv(...words: readonly string[]): readonly string[] {
  return [process.execPath, ...(words[0] === 'data-plane' ? BUSY : LEAN), entry, ...words];
}

/** Environment of a further process: nothing of ours but what Node and settings need. */
export function programEnv(path: string, home: string): Readonly<Record<string, string>> {
  return { PATH: path, HOME: home, MALLOC_ARENA_MAX: '1', NODE_COMPILE_CACHE: compileCacheFolder };
}

/** The keeper's key of librad in the background. */
export const LIBRAD_KEY = 'librad';

/**
 * Modes of files are what the code says, in this process and in all that it starts, Apps included. An administrator's umask of 077 would
 * keep Apps from their own folders, and one of 000 open what is theirs to everybody.
 */
export function settleFileModes(): void {
  process.umask(0o022);
}
