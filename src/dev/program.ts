// The developer's own program, beside the terminal that `libra dev` runs in: it has its input and output, and ends with it.

import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';

export interface ProgramOptions {
  readonly argv: readonly string[];
  readonly folder: string;
  /** All of it. Values may be secret: they go to the program and nowhere else. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Stands in front of what it writes; null: it has the terminal to itself. */
  readonly label: string | null;
  readonly clock: Clock;
}

export interface Program {
  readonly ended: Promise<number>;
  stop(): Promise<void>;
}

const STOP_MS = 10_000;
const BY_SIGNAL = 128;
const LINE_CHARACTERS = 64 * 1024;

export function startProgram({ argv, folder, env, label, clock }: ProgramOptions): Program {
  const [program = '', ...words] = argv;
  const child = spawn(program, words, {
    cwd: folder,
    env,
    stdio: label === null ? 'inherit' : ['ignore', 'pipe', 'pipe'],
    windowsHide: true,
  });
  if (label !== null) for (const from of [child.stdout, child.stderr]) if (from !== null) writeLines(from, label);
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', (cause) =>
      reject(
        new Failure('start_failed', {
          message: `The program ${program} cannot be started in ${folder}: ${cause.message}.`,
          hint: 'Check `command` of the Entrypoint, or start it yourself and name its port: libra dev --port 3000',
          cause,
        }),
      ),
    );
    child.once('exit', (code, signal) => resolve(code ?? BY_SIGNAL + (signal === 'SIGINT' ? 2 : signal === 'SIGTERM' ? 15 : 9)));
  });
  ended.catch(() => undefined);
  return {
    ended,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
      child.kill('SIGTERM');
      const cancel = clock.timer(STOP_MS, () => child.kill('SIGKILL'));
      await ended.catch(() => undefined);
      cancel();
    },
  };
}

/** Line by line, so that several programs share a terminal. What a program says is no result of ours: all of it goes to stderr. */
function writeLines(from: Readable, label: string): void {
  let rest = '';
  from.setEncoding('utf8');
  from.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    // A line without an end is no reason to keep it for ever.
    if (rest.length > LINE_CHARACTERS) lines.push(rest);
    if (rest.length > LINE_CHARACTERS) rest = '';
    if (lines.length > 0) process.stderr.write(lines.map((line) => `${label} | ${line}\n`).join(''));
  });
  from.on('end', () => {
    if (rest !== '') process.stderr.write(`${label} | ${rest}\n`);
  });
}
