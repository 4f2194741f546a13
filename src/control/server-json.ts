// Reads a JSON body: strict UTF-8, bounded depth, and no `__proto__` keys that could reach a prototype further down.

import { Failure } from '../lib/failure.ts';

const JSON_MAX_DEPTH = 64;

/** The value of a JSON text; undefined for an empty body. Throws `invalid_input`. */
export function parseJsonBody(bytes: Uint8Array): unknown {
  if (bytes.length === 0) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new Failure('invalid_input', { message: 'The body is not valid JSON in UTF-8.', cause: error });
  }
  checkStructure(value);
  return value;
}

function checkStructure(root: unknown): void {
  let level: unknown[] = [root];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > JSON_MAX_DEPTH) {
      throw new Failure('invalid_input', { message: `The body is nested deeper than ${JSON_MAX_DEPTH} levels.` });
    }
    const next: unknown[] = [];
    for (const value of level) {
      if (typeof value !== 'object' || value === null) continue;
      if (Object.hasOwn(value, '__proto__')) throw new Failure('invalid_input', { message: 'The body has a key __proto__.' });
      for (const child of Object.values(value)) if (typeof child === 'object' && child !== null) next.push(child);
    }
    level = next;
  }
}
