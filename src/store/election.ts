// One of many: whoever holds the key leads until its lease ends, and the revision at which the key was written is its fence. A commit that
// compares the key with it can come from nobody who has led before, however long that one was stopped.

import type { Clock } from '../lib/clock.ts';
import { within } from '../lib/deadline.ts';
import { isFailure } from '../lib/failure.ts';
import { startLoop } from '../lib/loop.ts';
import type { Lease, Store } from './store.ts';

export interface ElectionOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly key: string;
  /** What the key says while this one leads. */
  readonly value: string;
  /** Whether such a value is of this one, or of a predecessor that has surely ended. */
  readonly isOwn: (value: string) => boolean;
  /** Keys that say that this one is there; they live as long as it does. */
  readonly presence: readonly { readonly key: string; readonly value: string }[];
  /** It leads. `revision` is the fence of everything that it writes. */
  readonly onTaken: (revision: number) => void;
  readonly onLost: (reason: string) => void;
  /** What the store does not do at the moment. */
  readonly onTrouble?: (error: unknown) => void;
}

export interface Election {
  /** It leads, and has renewed its lease within the time that it lasts: one that was stopped knows it before it has asked. */
  leads(): boolean;
  /** The key may have gone: look at once. */
  wake(): void;
  /** Somebody has seen that the key is another's. */
  lost(reason: string): void;
  /** Resolves when what it could do so far is done: it leads, or somebody else does, or the store does not answer. */
  settled(): Promise<void>;
  /** Gives the key and the presence back at once. */
  stop(): Promise<void>;
}

/** A leader that was killed is followed after so long at the latest. */
export const ELECTION_TTL_MS = 5_000;
const EVERY_MS = 1_000;
const RETRY_MS = 250;
const REVOKE_MS = 2_000;
/** Written by the leader again and again, so that whoever watches the store knows a quiet watch from a dead one. */
export const PULSE_KEY = 'pulse/leader';

export function standForElection(options: ElectionOptions): Election {
  const { store, clock, key } = options;
  let lease: Lease | null = null;
  let isPresent = false;
  let aliveMs = Number.NEGATIVE_INFINITY;
  let term: number | null = null;

  const lose = (reason: string): void => {
    if (term === null) return;
    term = null;
    options.onLost(reason);
  };

  const renewed = async (): Promise<Lease> => {
    // Before the answer: the lease may have been renewed at any moment since.
    const askedMs = clock.monotonic();
    if (lease !== null) {
      try {
        await within(clock, ELECTION_TTL_MS, 'The renewal of the lease', lease.keepAlive());
        aliveMs = askedMs;
        return lease;
      } catch (error) {
        if (!isFailure(error, 'not_found')) throw error;
        lease = null;
        lose('its lease has ended');
      }
    }
    isPresent = false;
    lease = await store.lease({ ttlMs: ELECTION_TTL_MS });
    aliveMs = askedMs;
    return lease;
  };

  const take = async (leaseId: string): Promise<void> => {
    const before = await store.get(key);
    if (before !== undefined && !options.isOwn(before.value)) return;
    const { value } = options;
    const result = await store.commit({
      compare: [{ key, revision: before?.revision ?? 0 }],
      writes: [{ kind: 'put', key, value, leaseId }],
    });
    if (!result.committed) return;
    term = result.revision;
    options.onTaken(result.revision);
  };

  const loop = startLoop({
    clock,
    everyMs: EVERY_MS,
    errorDelayMs: RETRY_MS,
    onError: (error) => {
      if (clock.monotonic() - aliveMs > ELECTION_TTL_MS) lose('the store has not answered for as long as its lease lasts');
      options.onTrouble?.(error);
    },
    run: async () => {
      const { id: leaseId } = await renewed();
      if (!isPresent && options.presence.length > 0)
        await store.commit({ compare: [], writes: options.presence.map((entry) => ({ kind: 'put', ...entry, leaseId })) });
      isPresent = true;
      if (term === null) await take(leaseId);
    },
  });
  const pulse = startLoop({
    clock,
    everyMs: EVERY_MS,
    errorDelayMs: EVERY_MS,
    // The renewals say it too, and count.
    onError: () => undefined,
    run: async () => {
      const revision = term;
      if (revision === null) return;
      const result = await store.commit({
        compare: [{ key, revision }],
        writes: [{ kind: 'put', key: PULSE_KEY, value: '' }],
      });
      if (!result.committed && term === revision) lose('another one has taken over');
    },
  });

  return {
    leads: () => term !== null && clock.monotonic() - aliveMs < ELECTION_TTL_MS,
    wake: () => loop.wake(),
    lost: (reason) => {
      lose(reason);
      loop.wake();
    },
    settled: () => loop.settled(),
    stop: async () => {
      await Promise.all([loop.stop(), pulse.stop()]);
      lose('it stops');
      const last = lease;
      if (last !== null) await within(clock, REVOKE_MS, 'Giving the lease back', last.revoke()).catch(() => undefined);
    },
  };
}
