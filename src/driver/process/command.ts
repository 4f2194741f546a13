// Finds the program for a command word the way execvp(3) does, but on the Instance's own PATH and work folder, and without its
// fallback to /bin/sh: what is neither a binary nor names its interpreter is refused, so no shell ever starts by accident.

import { closeSync, openSync, readSync, realpathSync, statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import { Failure } from '../../lib/failure.ts';

export interface CommandContext {
  readonly env: Readonly<Record<string, string>>;
  /** Absolute; relative words and PATH entries count from here. */
  readonly cwd: string;
  /** Whom the program runs as; null: us. */
  readonly user: { readonly uid: number; readonly gid: number } | null;
}

type Verdict = 'ok' | 'absent' | 'not_executable' | 'unreachable' | 'is_folder';

/** Whether this user has the `x` right on what the facts describe. */
function mayPass(facts: Stats, user: CommandContext['user']): boolean {
  const uid = user?.uid ?? process.geteuid?.() ?? 0;
  if (uid === 0) return facts.isDirectory() || (facts.mode & 0o111) !== 0;
  const gid = user?.gid ?? process.getegid?.() ?? 0;
  const inGroup = facts.gid === gid || (user === null && process.getgroups?.().includes(facts.gid) === true);
  return (facts.mode & (facts.uid === uid ? 0o100 : inGroup ? 0o010 : 0o001)) !== 0;
}

/** Whether this user may walk down to the file, by its own path and by the one that links lead to: root's home is closed to all others. */
function isReachable(path: string, user: CommandContext['user']): boolean {
  for (const start of new Set([path, realpathSync(path)])) {
    for (let folder = dirname(start); ; folder = dirname(folder)) {
      if (!mayPass(statSync(folder), user)) return false;
      if (folder === dirname(folder)) break;
    }
  }
  return true;
}

function isExecutableFor(path: string, user: CommandContext['user']): Verdict {
  let facts;
  try {
    facts = statSync(path);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EACCES' ? 'not_executable' : 'absent';
  }
  if (facts.isDirectory()) return 'is_folder';
  if (!facts.isFile() || !mayPass(facts, user)) return 'not_executable';
  return isReachable(path, user) ? 'ok' : 'unreachable';
}

function startFailure(command: string, message: string, hint: string, details: Readonly<Record<string, unknown>>): Failure {
  return new Failure('start_failed', { message, hint, details: { reason: 'command_not_found', command, ...details } });
}

/** The first bytes decide what the kernel does with a file: ELF, or `#!` and an interpreter. */
function checkFormat(command: string, path: string): void {
  const head = Buffer.alloc(256);
  let length: number;
  try {
    const fd = openSync(path, 'r');
    try {
      length = readSync(fd, head, 0, head.length, 0);
    } finally {
      closeSync(fd);
    }
  } catch {
    return; // executable but not readable is legal for a binary
  }
  if (length >= 4 && head.subarray(0, 4).equals(Buffer.from([0x7f, 0x45, 0x4c, 0x46]))) return;
  if (length >= 2 && head[0] === 0x23 && head[1] === 0x21) {
    const line = head.subarray(2, length).toString('latin1').split('\n')[0]?.replace(/\r$/, '') ?? '';
    const interpreter = line.trim().split(/\s+/)[0] ?? '';
    if (isExecutableFor(interpreter, null) === 'ok') return;
    throw startFailure(
      command,
      `“${command}” (${path}) names the interpreter “${interpreter}”, which does not exist on this machine.`,
      `Install ${basename(interpreter)}, or correct the first line of the file.`,
      { path, errno: 'ENOENT', interpreter },
    );
  }
  throw startFailure(
    command,
    `“${command}” (${path}) is neither a program nor a script with a first line such as “#!/usr/bin/env node”.`,
    `Name the interpreter in the command, such as “node ${command}”, or add the first line.`,
    { path, errno: 'ENOEXEC' },
  );
}

/** The absolute path to execute for `word`. Rejects with `start_failed`, details.reason `command_not_found`, and says where it looked. */
export function resolveCommand(word: string, context: CommandContext): string {
  const searched = context.env['PATH'] ?? '';
  const named = word.includes('/');
  const candidates = named
    ? [resolve(context.cwd, word)]
    : searched
        .split(':')
        .filter((folder) => folder !== '')
        .map((folder) => resolve(context.cwd, folder, word));
  let refused: string | null = null;
  let closed: string | null = null;
  for (const path of word === '' ? [] : candidates) {
    const verdict = isExecutableFor(path, context.user);
    if (verdict === 'ok') {
      checkFormat(word, path);
      return path;
    }
    if (verdict === 'is_folder' && named) {
      throw startFailure(word, `“${word}” (${path}) is a folder, not a program.`, 'Name a file in the command.', { path, errno: 'EACCES' });
    }
    if (verdict === 'not_executable') refused ??= path;
    if (verdict === 'unreachable') closed ??= path;
  }
  if (refused !== null) {
    throw startFailure(
      word,
      `“${word}” (${refused}) exists but may not be executed.`,
      `Make it executable: chmod +x ${named ? word : refused}`,
      { path: refused, errno: 'EACCES' },
    );
  }
  if (closed !== null) {
    throw startFailure(
      word,
      `“${word}” (${closed}) lies in a folder that the App's user may not enter.`,
      'Install the program where every user can reach it, such as /usr/local/bin.',
      { path: closed, errno: 'EACCES' },
    );
  }
  const beside = !named && isExecutableFor(resolve(context.cwd, word), context.user) !== 'absent';
  throw startFailure(
    word,
    named
      ? `“${word}” does not exist in the App's folder.`
      : `The command “${word}” was not found. Searched PATH: ${searched || '(empty)'}`,
    beside
      ? `A file of this name is in the App's folder: write “./${word}”.`
      : 'Correct the command in the manifest, or install the program on this Node.',
    { path: searched, errno: 'ENOENT' },
  );
}
