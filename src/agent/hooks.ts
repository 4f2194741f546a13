// Commands that run inside an Instance beside its program: hooks and health commands. Bounded in time and in output.

import type { DesiredInstance } from '../api/agent.ts';
import type { Driver, DriverHandle, RunSpec } from '../driver/contract.ts';
import { Failure } from '../lib/failure.ts';
import { expandWords } from '../model/expand.ts';
import type { Reason } from '../model/documents.ts';
import { maskSecrets, reason } from './reasons.ts';

const HOOK_TIMEOUT_MS = 60_000;
const OUTPUT_BYTES = 16 * 1024;
const REASON_LINES = 20;
const LINE_CHARACTERS = 500;

/** Runs one command to its end; an abort kills it. Answers the last 16 KiB of its output. */
export async function runInside(
  driver: Driver,
  handle: DriverHandle,
  run: RunSpec,
  command: readonly string[],
  signal: AbortSignal,
): Promise<{ readonly code: number | null; readonly output: string }> {
  if (driver.exec === undefined) {
    throw new Failure('unsupported', { message: `The driver ${driver.info.name} cannot run a command beside the program.` });
  }
  signal.throwIfAborted();
  const argv = expandWords(command, run.env).words;
  const session = await driver.exec(handle, { argv, env: run.env, cwd: run.workFolder });
  const onAbort = (): void => session.kill();
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) session.kill();
  try {
    session.endInput();
    let output = Buffer.alloc(0);
    for await (const { chunk } of session.output) output = Buffer.concat([output, chunk]).subarray(-OUTPUT_BYTES);
    const { code } = await session.exited;
    return { code, output: output.toString('utf8') };
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Runs hooks in order; the first that fails ends the row and is told. null: all well. */
export async function runHooks(
  driver: Driver,
  handle: DriverHandle,
  run: RunSpec,
  spec: DesiredInstance,
  hooks: readonly (readonly string[])[],
  signal: AbortSignal,
  timeoutMs: number = HOOK_TIMEOUT_MS,
): Promise<Reason | null> {
  for (const command of hooks) {
    const name = command.join(' ').slice(0, LINE_CHARACTERS);
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    try {
      const { code, output } = await runInside(driver, handle, run, command, deadline);
      if (code === 0 && !deadline.aborted) continue;
      const how = deadline.aborted ? `did not end within ${timeoutMs / 1000} s` : `ended with ${code ?? 'a signal'}`;
      const lines = output.trimEnd().split('\n').slice(-REASON_LINES);
      return reason(
        spec.id,
        'hook_failed',
        `The hook ${name} ${how}.`,
        null,
        lines.map((line) => maskSecrets(spec, line).slice(0, LINE_CHARACTERS)),
      );
    } catch (error) {
      return reason(spec.id, 'hook_failed', `The hook ${name} cannot be run: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return null;
}
