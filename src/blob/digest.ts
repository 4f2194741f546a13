// Digests as names of files. Only a checked digest ever becomes part of a path.

import { Failure } from '../lib/failure.ts';
import type { Digest } from './blob.ts';

const PATTERN = /^sha256:([0-9a-f]{64})$/;

/** The 64 hex digits of a digest; throws `invalid_input` for anything else. */
export function digestHex(digest: Digest): string {
  const hex = PATTERN.exec(digest)?.[1];
  if (hex === undefined) {
    throw new Failure('invalid_input', {
      message: `${JSON.stringify(String(digest).slice(0, 100))} is not a digest.`,
      hint: 'A digest is `sha256:` followed by 64 lower-case hex digits.',
    });
  }
  return hex;
}
