// Runs one more command beside a running attempt: same user, same limits, same marker, input and output piped to the caller. It is a
// child of librad, because it ends with the connection that asked for it.

import { spawn } from 'node:child_process';
import { Failure } from '../../lib/failure.ts';
import { startWithin } from '../../sys/cgroup-join.ts';
import { startAs } from '../../sys/drop-rights.ts';
import type { ExecSession } from '../contract.ts';
import type { ProcessHandle } from './handle.ts';
import { mergeOutput } from './merge-output.ts';

export interface ExecRequest {
  /** Absolute path of the program. */
  readonly file: string;
  readonly words: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
}

/** Resolves when the program has been started. */
export async function startExec(handle: ProcessHandle, request: ExecRequest): Promise<ExecSession> {
  const { file, words, env, ids } = startAs(handle.user, [request.file, ...request.words], request.env);
  const child = startWithin(handle.cgroups, () => spawn(file, words, { cwd: request.cwd, env, detached: true, stdio: 'pipe', ...ids }));
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) =>
      reject(new Failure('start_failed', { message: `“${request.file}” could not be started: ${error.message}`, cause: error })),
    );
  });
  child.on('error', () => undefined);
  child.stdin.on('error', () => undefined); // the program closed its input; write() reports it
  return {
    write: (chunk) =>
      new Promise((resolve, reject) => {
        child.stdin.write(chunk, (error) => {
          if (error === null || error === undefined) resolve();
          else reject(new Failure('conflict', { message: 'The command does not take input any more.', cause: error }));
        });
      }),
    endInput: () => {
      child.stdin.end();
    },
    output: mergeOutput(child.stdout, child.stderr),
    exited,
    kill: () => {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It ended before.
      }
    },
  };
}
