// Basic authentication (RFC 7617) against scrypt hashes in PHC form. A hash takes tens of milliseconds on purpose: it is computed beside
// the event loop, few at a time; who was right once is remembered for a while, and who guesses is slowed down.

import { createHmac, randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../../lib/clock.ts';
import { networkOf } from '../../model/address-range.ts';
import { parsePasswordHash } from '../../model/password-hash.ts';
import type { BasicAuthPolicy } from '../../model/route-policy.ts';
import { createRateLimiter } from './rate-limit.ts';

export interface BasicAuth {
  readonly challenge: string;
  /** `busy`: too many wrong tries from there, or too many at once. Sync where it is known without a hash. */
  check(authorization: string | undefined, address: string): Verdict | Promise<Verdict>;
}

export type Verdict = 'right' | 'wrong' | 'busy';

const REMEMBERED = 1_000;
const REMEMBERED_MS = 5 * 60_000;
const AT_ONCE = 2;
const WAITING = 16;
/** Wrong tries of one address, or of one network of IPv6. */
const TRIES = { requests: 10, perMs: 60_000, burst: 10, by: 'address' } as const;
const MAX_CREDENTIALS = 1_024;

interface Hash {
  readonly cost: number;
  readonly blockSize: number;
  readonly parallelization: number;
  readonly salt: Buffer;
  readonly key: Buffer;
}

function parseHash(text: string): Hash | null {
  const hash = parsePasswordHash(text);
  return hash === null ? null : { ...hash, salt: Buffer.from(hash.salt, 'base64'), key: Buffer.from(hash.key, 'base64') };
}

/** For a name that nobody has: as long in the making as that of a real one. */
const NOBODY: Hash = { cost: 2 ** 15, blockSize: 8, parallelization: 1, salt: randomBytes(16), key: randomBytes(32) };

function isRight(password: string, hash: Hash): Promise<boolean> {
  const { cost, blockSize, parallelization, salt, key } = hash;
  return new Promise((resolve) => {
    scrypt(password, salt, key.length, { cost, blockSize, parallelization, maxmem: 256 * 2 ** 20 }, (error, made) =>
      resolve(error === null && timingSafeEqual(made, key)),
    );
  });
}

/** One at the Edge, whatever the number of Routes with passwords: how many hashes are made at once is bounded for all. */
export function createHashing(): (password: string, hash: Hash) => Promise<boolean> | null {
  let running = 0;
  const waiting: (() => void)[] = [];
  return (password, hash) => {
    if (running >= AT_ONCE && waiting.length >= WAITING) return null;
    const begin = async (): Promise<boolean> => {
      if (running >= AT_ONCE) await new Promise<void>((resolve) => void waiting.push(resolve));
      running += 1;
      try {
        return await isRight(password, hash);
      } finally {
        running -= 1;
        waiting.shift()?.();
      }
    };
    return begin();
  };
}

export function createBasicAuth(policy: BasicAuthPolicy, hashing: ReturnType<typeof createHashing>, clock: Clock): BasicAuth {
  const hashes = new Map(Object.entries(policy.users).map(([name, text]) => [name, parseHash(text)] as const));
  // Credentials themselves are not kept.
  const secret = randomBytes(32);
  const remembered = new Map<string, number>();
  const wrong = createRateLimiter(TRIES, clock);
  const blocked = new Map<string, number>();
  const isBlocked = (address: string): boolean => {
    const untilMs = blocked.get(address);
    if (untilMs === undefined) return false;
    if (untilMs > clock.monotonic()) return true;
    blocked.delete(address);
    return false;
  };
  const noteWrong = (address: string): void => {
    const { allowed, resetS } = wrong.take(address);
    if (allowed) return;
    blocked.set(address, clock.monotonic() + resetS * 1_000);
    const [oldest] = blocked.keys();
    if (blocked.size > REMEMBERED && oldest !== undefined) blocked.delete(oldest);
  };
  return {
    challenge: `Basic realm="${policy.realm}", charset="UTF-8"`,
    check: (authorization, from) => {
      const address = networkOf(from);
      const given = /^basic ([a-z0-9+/=]+)$/iu.exec(authorization ?? '')?.[1];
      if (given === undefined || given.length > MAX_CREDENTIALS) return 'wrong';
      const id = createHmac('sha256', secret).update(given).digest('base64');
      const untilMs = remembered.get(id);
      if (untilMs !== undefined && untilMs > clock.monotonic()) return 'right';
      if (isBlocked(address)) return 'busy';
      const text = Buffer.from(given, 'base64').toString('utf8');
      const colon = text.indexOf(':');
      if (colon === -1) return 'wrong';
      const hash = hashes.get(text.slice(0, colon)) ?? null;
      const checking = hashing(text.slice(colon + 1), hash ?? NOBODY);
      if (checking === null) return 'busy';
      return checking.then((right) => {
        if (!right || hash === null) {
          noteWrong(address);
          return 'wrong';
        }
        remembered.set(id, clock.monotonic() + REMEMBERED_MS);
        const [oldest] = remembered.keys();
        if (remembered.size > REMEMBERED && oldest !== undefined) remembered.delete(oldest);
        return 'right';
      });
    },
  };
}
