// Reads single options out of parsed input, with the message that a wrong one deserves.

import { Failure } from '../lib/failure.ts';
import { parseDurationMs } from '../model/duration.ts';
import type { CommandInput } from './command.ts';

export function textOption(input: CommandInput, name: string): string | null {
  const value = input.options[name];
  return typeof value === 'string' ? value : null;
}

export function flagOption(input: CommandInput, name: string): boolean {
  return input.options[name] === true;
}

/** A whole number within bounds, or the default where the option is absent. */
export function numberOption(
  input: CommandInput,
  name: string,
  bounds: { readonly min: number; readonly max: number; readonly default: number },
): number {
  const text = textOption(input, name);
  if (text === null) return bounds.default;
  const value = Number(text);
  if (!/^\d{1,15}$/u.test(text) || value < bounds.min || value > bounds.max) {
    throw new Failure('invalid_input', {
      message: `--${name} must be a number from ${bounds.min} to ${bounds.max}, not ${JSON.stringify(text)}.`,
    });
  }
  return value;
}

const DATE = /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:\d{2})?)?$/u;

/** A moment as UTC milliseconds: a time before `nowMs`, or a date, which is local where it names no zone. */
export function momentOption(input: CommandInput, name: string, nowMs: number): number | null {
  const text = textOption(input, name);
  if (text === null) return null;
  const agoMs = parseDurationMs(text);
  const atMs =
    agoMs !== null
      ? nowMs - agoMs
      : DATE.test(text)
        ? Date.parse(text.length === 10 ? `${text}T00:00` : text.replace(' ', 'T'))
        : Number.NaN;
  if (Number.isNaN(atMs) || atMs < 0) {
    throw new Failure('invalid_input', {
      message: `--${name} must be a time ago such as 10m or 2h30m, or a date such as 2026-11-27T08:00Z, not ${JSON.stringify(text)}.`,
    });
  }
  return atMs;
}
