// What the engine says of a container as the state of an attempt.

import { constants } from 'node:os';
import type { RunState } from '../contract.ts';
import { fieldOf, numberOf, textOf } from './fields.ts';

const SIGNAL_NAMES: ReadonlyMap<number, string> = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));
/** What programs report that were ended by a signal, and Docker's own init for them. */
const SIGNAL_BASE = 128;
/** Go's zero time, which Docker writes where nothing has happened yet, is long before. */
const timeOf = (text: string | null): number => (text === null || text.startsWith('0001-') ? 0 : Date.parse(text));

/** An exit code above 128 is taken for the signal that it stands for: Docker does not keep the two apart. */
export function readState(answer: unknown): RunState {
  const status = textOf(answer, 'State', 'Status') ?? '';
  const startedAtMs = timeOf(textOf(answer, 'State', 'StartedAt'));
  switch (status) {
    case 'running':
    case 'paused':
    case 'restarting': {
      const pid = numberOf(answer, 'State', 'Pid');
      return { state: 'running', pid: pid === 0 ? null : pid, startedAtMs };
    }
    case 'exited':
    case 'dead': {
      const code = numberOf(answer, 'State', 'ExitCode') ?? 0;
      const signal = SIGNAL_NAMES.get(code - SIGNAL_BASE) ?? null;
      return {
        state: 'exited',
        code: signal === null ? code : null,
        signal,
        outOfMemory: code !== 0 && fieldOf(answer, 'State', 'OOMKilled') === true,
        atMs: timeOf(textOf(answer, 'State', 'FinishedAt')),
      };
    }
    case 'created':
      return { state: 'unknown', message: 'Its container was made, but never started.' };
    case 'removing':
      return { state: 'unknown', message: 'Its container is being removed.' };
    default:
      return { state: 'unknown', message: `Docker tells nothing of it but “${status}”.` };
  }
}
