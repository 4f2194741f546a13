// Token buckets: a client may spend `burst` requests at once, and gets `requests` back each `per`. Buckets that are full again are
// forgotten, and no more than so many are kept: strangers cannot fill memory. Each worker of the Edge counts for itself.

import type { Clock } from '../../lib/clock.ts';
import type { RateLimitPolicy } from '../../model/route-policy.ts';

export interface RateLimiter {
  /** Takes a token of the key. */
  take(key: string): RateState;
}

/** As the RateLimit fields say it (draft-ietf-httpapi-ratelimit-headers-07). */
export interface RateState {
  readonly allowed: boolean;
  readonly limit: number;
  readonly remaining: number;
  /** Until there is a token again, where there is none; else until the bucket is full. */
  readonly resetS: number;
}

const KEPT = 20_000;

interface Bucket {
  tokens: number;
  atMs: number;
}

export function createRateLimiter(policy: RateLimitPolicy, clock: Clock): RateLimiter {
  const { burst } = policy;
  const perMs = policy.requests / policy.perMs;
  /** The one that was used longest ago first. */
  const buckets = new Map<string, Bucket>();
  const trim = (nowMs: number): void => {
    for (const [key, bucket] of buckets) {
      const full = bucket.tokens + (nowMs - bucket.atMs) * perMs >= burst;
      if (!full && buckets.size <= KEPT) return;
      buckets.delete(key);
    }
  };
  return {
    take: (key) => {
      const nowMs = clock.monotonic();
      const known = buckets.get(key);
      const bucket = known ?? { tokens: burst, atMs: nowMs };
      bucket.tokens = Math.min(burst, bucket.tokens + (nowMs - bucket.atMs) * perMs);
      bucket.atMs = nowMs;
      const allowed = bucket.tokens >= 1;
      if (allowed) bucket.tokens -= 1;
      buckets.delete(key);
      buckets.set(key, bucket);
      if (known === undefined && buckets.size > KEPT / 2) trim(nowMs);
      const missing = allowed ? burst - bucket.tokens : 1 - bucket.tokens;
      return { allowed, limit: burst, remaining: Math.floor(bucket.tokens), resetS: Math.max(1, Math.ceil(missing / perMs / 1_000)) };
    },
  };
}
