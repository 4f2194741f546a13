// The size of a caller's terminal, as a frame of JSON tells it while its command runs.

import type { Terminal } from '../driver/contract.ts';

/** As for the size that a terminal begins with. */
const LARGEST = 999;

/** null where it is none. */
export function terminalSize(frame: Uint8Array): Terminal | null {
  let told: unknown;
  try {
    told = JSON.parse(Buffer.from(frame).toString('utf8'));
  } catch {
    return null;
  }
  if (typeof told !== 'object' || told === null || !('columns' in told) || !('rows' in told)) return null;
  const { columns, rows } = told;
  return isSize(columns) && isSize(rows) ? { columns, rows } : null;
}

const isSize = (value: unknown): value is number => typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= LARGEST;
