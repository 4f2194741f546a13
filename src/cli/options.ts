// Reads single options out of parsed input, with the message that a wrong one deserves.

import { Failure } from '../lib/failure.ts';
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
