// What an Environment holds, against what it may. Only the control plane that leads writes, so what it has counted once and reckons on is
// right; it is never stored, is counted anew from time to time, and cannot drift for long.

import type { Clock } from '../../lib/clock.ts';
import { Failure } from '../../lib/failure.ts';
import type { KvStore } from './kv-store.ts';
import { keyOf } from './kv-store.ts';

export interface Usage {
  readonly keys: number;
  readonly bytes: number;
}

export interface KvLimits {
  readonly keys: number;
  readonly bytes: number;
  readonly valueBytes: number;
}

export interface KvUsage {
  /** As it is now. */
  of(environmentId: string): Promise<Usage>;
  /** Makes a change of so much, if there is room: reckoned with before it is committed, so that many at once cannot exceed it. Throws `rate_limited`. */
  change<T>(environmentId: string, by: Usage, commit: () => Promise<T>): Promise<T>;
}

export interface KvUsageOptions {
  readonly kv: KvStore;
  readonly clock: Clock;
  readonly limits: KvLimits;
  /** Nobody else writes. */
  readonly leads: boolean;
  /** Told when something was refused because there is too much. */
  readonly onFull: (environmentId: string) => void;
}

/** Then it is counted anew; also bounds what is remembered of Environments that are idle. */
const GOOD_MS = 600_000;

interface Counted {
  readonly ready: Promise<void>;
  readonly atMs: number;
  usage: { keys: number; bytes: number };
  /** Changes under way: while there are some, nothing is counted. */
  open: number;
  /** A commit whose end is not known: what was counted may be wrong. */
  isDoubtful: boolean;
}

export function createKvUsage({ kv, clock, limits, leads, onFull }: KvUsageOptions): KvUsage {
  const counted = new Map<string, Counted>();

  const count = async (environmentId: string): Promise<Usage> => {
    const usage = { keys: 0, bytes: 0 };
    for (let after: string | undefined; ;) {
      const { entries, more } = await kv.page(environmentId, '', after);
      for (const entry of entries) {
        const { document } = kv.decode(entry);
        usage.keys += 1;
        usage.bytes += document.bytes;
        after = keyOf(document.id);
      }
      if (!more) return usage;
    }
  };

  const isOld = ({ atMs, open, isDoubtful }: Counted): boolean => open === 0 && (isDoubtful || clock.monotonic() - atMs > GOOD_MS);
  const current = (environmentId: string): Counted => {
    const known = counted.get(environmentId);
    if (known !== undefined && !isOld(known)) return known;
    for (const [id, one] of counted) if (isOld(one)) counted.delete(id);
    const fresh: Counted = {
      ready: count(environmentId).then((usage) => {
        fresh.usage = { ...usage };
      }),
      atMs: clock.monotonic(),
      usage: { keys: 0, bytes: 0 },
      open: 0,
      isDoubtful: false,
    };
    fresh.ready.catch(() => {
      if (counted.get(environmentId) === fresh) counted.delete(environmentId);
    });
    counted.set(environmentId, fresh);
    return fresh;
  };

  const refuse = (environmentId: string, usage: Usage, by: Usage): void => {
    const tooMany = by.keys > 0 && usage.keys + by.keys > limits.keys;
    if (!tooMany && !(by.bytes > 0 && usage.bytes + by.bytes > limits.bytes)) return;
    onFull(environmentId);
    const what = tooMany ? `${usage.keys} keys of ${limits.keys}` : `${usage.bytes} bytes of ${limits.bytes}`;
    throw new Failure('rate_limited', {
      message: `The Environment holds ${what} that it may in librad.kv${tooMany ? '' : `; ${by.bytes} more do not fit`}.`,
      hint: 'Delete what is not needed, or let it end by itself with ttlMs. GET /v1/librad/kv/usage tells what there is.',
      details: { ...usage, maxKeys: limits.keys, maxBytes: limits.bytes },
    });
  };

  return {
    of: async (environmentId) => {
      if (!leads) return await count(environmentId);
      const known = current(environmentId);
      await known.ready;
      return { ...known.usage };
    },
    change: async (environmentId, by, commit) => {
      const known = current(environmentId);
      known.open += 1;
      try {
        await known.ready;
        refuse(environmentId, known.usage, by);
        add(known, by, 1);
        try {
          return await commit();
        } catch (error) {
          add(known, by, -1);
          known.isDoubtful ||= !isSurelyRefused(error);
          throw error;
        }
      } finally {
        known.open -= 1;
      }
    },
  };
}

function add({ usage }: Counted, by: Usage, sign: 1 | -1): void {
  usage.keys += sign * by.keys;
  usage.bytes += sign * by.bytes;
}

/** Whether it is sure that nothing was written. */
function isSurelyRefused(error: unknown): boolean {
  if (!(error instanceof Failure)) return false;
  return error.code === 'conflict' || error.code === 'exists' || error.code === 'too_large' || error.details?.['moving'] === true;
}
