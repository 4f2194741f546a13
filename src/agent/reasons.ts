// Words for what went wrong with an Instance, with its last output: bounded, and with secret values masked.

import type { DesiredInstance } from '../api/agent.ts';
import type { Driver, RunSpec, RunState } from '../driver/contract.ts';
import { isFailure } from '../lib/failure.ts';
import { diagnose } from '../model/diagnosis.ts';
import type { Observation } from '../model/diagnosis.ts';
import type { Reason, ReasonCode } from '../model/documents.ts';
import type { InstanceState } from './instance-state.ts';

const LINES = 20;
const LINE_CHARACTERS = 500;
const READ_DEADLINE_MS = 2000;
/** A shorter value would mask ordinary text. */
const MASKED_FROM_CHARACTERS = 4;

/** Replaces every secret value of the Instance by `***`. */
export function maskSecrets(spec: DesiredInstance, text: string): string {
  const names = spec.secretEnv ?? Object.keys(spec.env);
  const values = names.map((name) => spec.env[name] ?? '');
  for (const file of spec.files) values.push(...Buffer.from(file.contentBase64, 'base64').toString('utf8').split('\n'));
  let masked = text;
  for (const value of values.map((item) => item.trim()).sort((a, b) => b.length - a.length)) {
    if (value.length >= MASKED_FROM_CHARACTERS) masked = masked.replaceAll(value, '***');
  }
  return masked;
}

/** The last lines of output, oldest first. Without its spec nothing is told, as nothing could be masked. */
export async function lastLines(driver: Driver, logFolder: string, spec: DesiredInstance | null): Promise<readonly string[]> {
  if (spec === null) return [];
  const lines: string[] = [];
  try {
    const signal = AbortSignal.timeout(READ_DEADLINE_MS);
    for await (const line of driver.logs(logFolder, { tail: LINES, follow: false, signal })) lines.push(line.text);
  } catch {
    // Output is a help for people; what cannot be read is left out.
  }
  return lines.slice(-LINES).map((line) => maskSecrets(spec, line).slice(0, LINE_CHARACTERS));
}

export const reason = (
  id: string,
  code: ReasonCode,
  message: string,
  hint: string | null = null,
  lines: readonly string[] = [],
): Reason => ({ code, message, hint, lastLines: lines, instanceId: id });

/** What an Instance is, for a diagnosis. */
export const observed = (
  spec: DesiredInstance,
  run: Pick<RunSpec, 'argv' | 'port' | 'resources' | 'container'>,
  lines: readonly string[],
): Omit<Observation, 'exit' | 'probe'> => ({
  instanceId: spec.id,
  entrypoint: spec.entrypoint,
  command: run.argv,
  service: spec.role === 'service',
  lastLines: lines,
  expectedPort: run.container?.port ?? run.port,
  sockets: null,
  inContainer: run.container !== undefined || spec.artifact.kind === 'image',
  memoryLimitBytes: spec.resources.memory.limitBytes,
});

/** How a program ended, in words. null: as it should, or nobody knows. */
export function endReason(
  state: InstanceState,
  spec: DesiredInstance | null,
  run: RunSpec | null,
  end: RunState,
  lines: readonly string[],
): Reason | null {
  if (end.state !== 'exited' || (end.code === 0 && !state.service)) return null;
  if (spec !== null && run !== null) {
    const why = diagnose({ ...observed(spec, run, lines), exit: end, probe: null });
    return end.note === undefined ? why : { ...why, hint: end.note };
  }
  const how = end.signal === null ? `ended with exit code ${end.code ?? 'unknown'}` : `was ended by signal ${end.signal}`;
  return reason(state.id, 'exited', `It ${how} while the agent was restarting.`);
}

const REASON_CODES: ReadonlySet<string> = new Set<ReasonCode>([
  'command_not_found',
  'port_taken',
  'missing_variable',
  'driver_error',
  'not_allowed',
]);
const isReasonCode = (value: unknown): value is ReasonCode => typeof value === 'string' && REASON_CODES.has(value);

/** A thrown value as a Reason. `details.reason` of a Failure names the code. */
export function thrownReason(id: string, error: unknown, fallback: ReasonCode): Reason {
  if (!isFailure(error)) return reason(id, fallback, error instanceof Error ? error.message : String(error));
  const code = error.details?.['reason'];
  return reason(id, isReasonCode(code) ? code : fallback, error.message, error.hint ?? null);
}
