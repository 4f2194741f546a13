// Exponential back-off with jitter, as numbers only: the caller waits.

import type { Random } from './id.ts';

export interface BackoffOptions {
  readonly minMs: number;
  readonly maxMs: number;
  readonly factor?: number;
}

/** Delay before attempt `attempt` (0 is the first retry), in milliseconds, with up to 20 % taken off at random. */
export function backoffMs(attempt: number, options: BackoffOptions, random?: Random): number {
  const base = Math.min(options.maxMs, options.minMs * (options.factor ?? 2) ** Math.min(attempt, 60));
  const jitter = random === undefined ? 0 : (random.bytes(1)[0] ?? 0) / 255 / 5;
  return Math.round(base * (1 - jitter));
}
