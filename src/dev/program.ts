// The developer's own program, beside the terminal that `libra dev` runs in: it has its input and output, and ends with it.

import { spawn } from 'node:child_process';
import type { Clock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';

export interface ProgramOptions {
  readonly argv: readonly string[];
  readonly folder: string;
  /** All of it. Values may be secret: they go to the program and nowhere else. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
}

export interface Program {
  readonly ended: Promise<number>;
  stop(): Promise<void>;
}

const STOP_MS = 10_000;
const BY_SIGNAL = 128;

export function startProgram({ argv, folder, env, clock }: ProgramOptions): Program {
  const [program = '', ...words] = argv;
  const child = spawn(program, words, { cwd: folder, env, stdio: 'inherit', windowsHide: true });
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
