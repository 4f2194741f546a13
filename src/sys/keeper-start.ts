// Finds the keeper of a run folder or starts one, detached from us. However many start at once, one keeper comes of it.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, lstatSync, mkdirSync, openSync, readFileSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { systemClock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { readJsonFile, replaceFileSync } from './durable-file.ts';
import { socketAnswers } from './socket-answers.ts';
import { isIdentityAlive, readIdentity } from './process-identity.ts';

/** sun_path of unix(7) holds 108 bytes with its final zero. */
const SOCKET_PATH_BYTES = 107;
const LOG_BYTES = 1024 * 1024;

export interface EnsureKeeperOptions {
  /** Private folder of the platform, `<data>/run`. */
  readonly runFolder: string;
  /** The program and its words; it must call `runKeeper` with `keeperSocketPath(runFolder)`. */
  readonly argv: readonly string[];
  /** Its whole environment. Default: PATH alone. */
  readonly env?: Readonly<Record<string, string>>;
  readonly deadlineMs?: number;
  readonly clock?: Clock;
}

/** Where the keeper of a run folder listens: in the folder, or where that path is too long in a private folder of the temporary one. */
export function keeperSocketPath(runFolder: string): string {
  const direct = join(runFolder, 'keeper.sock');
  if (Buffer.byteLength(direct) <= SOCKET_PATH_BYTES) return direct;
  const digest = createHash('sha256').update(runFolder).digest('hex').slice(0, 24);
  return join(tmpdir(), `libra-${process.getuid?.() ?? 0}-${digest}`, 'keeper.sock');
}

/** The folder of the socket must be ours alone: in a shared temporary folder anybody could have made it first. */
function claimFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const facts = lstatSync(folder);
  if (!facts.isDirectory() || (process.getuid !== undefined && facts.uid !== process.getuid()) || (facts.mode & 0o022) !== 0) {
    throw new Failure('start_failed', {
      message: `The keeper's socket cannot be in ${folder}: it is not a folder of this user alone.`,
      hint: `Remove ${folder}, or use a data folder with a shorter path.`,
    });
  }
}

/** A keeper that a starter before us launched and that lives, but may not listen yet. */
function launchedBefore(file: string): boolean {
  const value = readJsonFile(file);
  if (typeof value !== 'object' || value === null || !('bootId' in value) || !('pid' in value) || !('startTicks' in value)) return false;
  const { bootId, pid, startTicks } = value;
  return (
    typeof bootId === 'string' && typeof pid === 'number' && typeof startTicks === 'string' && isIdentityAlive({ bootId, pid, startTicks })
  );
}

function lastWords(logPath: string): string {
  try {
    return readFileSync(logPath, 'utf8').slice(-2000).trim().split('\n').slice(-5).join('\n');
  } catch {
    return '';
  }
}

function launch(options: EnsureKeeperOptions, logPath: string): { readonly pid: number | undefined; exited(): boolean } {
  try {
    if (statSync(logPath).size > LOG_BYTES) truncateSync(logPath);
  } catch {
    // First start.
  }
  const [file = '', ...words] = options.argv;
  const log = openSync(logPath, 'a', 0o600);
  try {
    const child = spawn(file, words, {
      cwd: '/',
      env: { ...(options.env ?? { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' }) },
      detached: true,
      stdio: ['ignore', log, log],
    });
    let gone = child.pid === undefined;
    child.once('error', () => {
      gone = true;
    });
    child.once('exit', () => {
      gone = true;
    });
    child.unref();
    return { pid: child.pid, exited: () => gone };
  } finally {
    closeSync(log);
  }
}

/**
 * Resolves when a keeper answers. Rejects with `start_failed` and the keeper's last words where none does within the deadline
 * (default 10 s).
 */
export async function ensureKeeper(options: EnsureKeeperOptions): Promise<{ readonly socketPath: string; readonly started: boolean }> {
  const clock = options.clock ?? systemClock;
  const deadlineMs = options.deadlineMs ?? 10_000;
  const until = clock.monotonic() + deadlineMs;
  const socketPath = keeperSocketPath(options.runFolder);
  if (await socketAnswers(socketPath)) return { socketPath, started: false };
  mkdirSync(options.runFolder, { recursive: true, mode: 0o700 });
  claimFolder(dirname(socketPath));
  const { lockFile } = await import('./file-lock.ts');
  const lock = await lockFile(join(options.runFolder, 'keeper.lock'), { clock, deadlineMs });
  try {
    if (await socketAnswers(socketPath)) return { socketPath, started: false };
    const logPath = join(options.runFolder, 'keeper.log');
    const identityPath = join(options.runFolder, 'keeper.json');
    const started = launchedBefore(identityPath) ? null : launch(options, logPath);
    const identity = started?.pid === undefined ? null : readIdentity(started.pid);
    if (identity !== null) replaceFileSync(identityPath, JSON.stringify(identity));
    while (clock.monotonic() < until) {
      if (await socketAnswers(socketPath)) return { socketPath, started: started !== null };
      if (started?.exited() === true) break;
      await clock.sleep(10);
    }
    throw new Failure('start_failed', {
      message: `The keeper did not come up within ${deadlineMs} ms. ${lastWords(logPath)}`.trim(),
      hint: `Look into ${logPath}.`,
      details: { argv: options.argv },
    });
  } finally {
    lock.release();
  }
}
