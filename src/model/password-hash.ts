// Hashes of passwords as PHC strings of scrypt (RFC 7914): what one may cost is bounded here, since the Edge that computes it is shared by
// the Apps of everybody. The manifest refuses what this does not read, and the Edge lets nobody in by it.

export interface PasswordHash {
  /** N; a power of two. */
  readonly cost: number;
  readonly blockSize: number;
  readonly parallelization: number;
  /** Base64. */
  readonly salt: string;
  /** Base64. */
  readonly key: string;
}

/** Of N·r·p: 128 MiB and some 200 ms at most. */
export const MAX_WORK = 2 ** 20;

/** Null where it is none, or costs too much or too little. */
export function parsePasswordHash(text: string): PasswordHash | null {
  const parts = /^\$scrypt\$ln=(1\d),r=([1-9]\d?),p=([1-9]\d?)\$([A-Za-z0-9+/]{16,64})\$([A-Za-z0-9+/]{32,128})$/u.exec(text);
  if (parts === null) return null;
  const [, ln, r, p, salt = '', key = ''] = parts;
  const hash = { cost: 2 ** Number(ln), blockSize: Number(r), parallelization: Number(p), salt, key };
  return hash.cost * hash.blockSize * hash.parallelization > MAX_WORK ? null : hash;
}
