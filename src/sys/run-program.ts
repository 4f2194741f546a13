// Runs a program to its end, without a shell, and tells its last words where it fails.

import { execFile } from 'node:child_process';
import { isAbsolute } from 'node:path';

const OUTPUT_BYTES = 64 * 1024;
const TOLD = 500;

/** Rejects where it cannot be started, ends with another status than 0, or is not done within `timeoutMs`, when it is killed. */
export function runProgram(
  argv: readonly string[],
  options: { readonly env: Readonly<Record<string, string>>; readonly timeoutMs: number },
): Promise<void> {
  const [program = '', ...words] = argv;
  return new Promise((resolve, reject) => {
    execFile(
      program,
      words,
      {
        env: options.env,
        timeout: options.timeoutMs,
        killSignal: 'SIGKILL',
        maxBuffer: OUTPUT_BYTES,
        cwd: isAbsolute(program) ? '/' : undefined,
      },
      (error, stdout, stderr) => {
        if (error === null) return resolve();
        const why =
          error.killed === true
            ? `was not done within ${options.timeoutMs / 1_000} s`
            : typeof error.code === 'string'
              ? `cannot be started (${error.code})`
              : `ended with ${String(error.code ?? error.signal)}`;
        const said = (stderr.trim() === '' ? stdout : stderr).trim().slice(-TOLD);
        reject(new Error(`${program} ${why}${said === '' ? '' : `: ${said}`}`, { cause: error }));
      },
    );
  });
}
