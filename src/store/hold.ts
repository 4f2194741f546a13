// One control plane at a time on a store that other machines can reach: whoever holds it says so again and again, under a lease that ends
// with it.

import type { Clock } from '../lib/clock.ts';
import { within } from '../lib/deadline.ts';
import { Failure, isFailure } from '../lib/failure.ts';
import { startLoop } from '../lib/loop.ts';
import type { Lease, Store } from './store.ts';

export interface HoldOptions {
  readonly store: Store;
  readonly clock: Clock;
  /** The same after a restart, and nobody else's. */
  readonly holder: string;
  /** Somebody else may hold it now: nothing may be written any more. */
  readonly onLost: () => void;
}

const KEY = 'hold/control';
/** Longer than it takes to find a member that answers, where one is stuck. */
const TTL_MS = 20_000;
const EVERY_MS = 3_000;
const LOOK_MS = 500;

/** Resolves with what gives it back. Throws `data_in_use` where another one has it and stays. */
export async function holdStore({ store, clock, holder, onLost }: HoldOptions): Promise<() => Promise<void>> {
  const lease = await store.lease({ ttlMs: TTL_MS });
  await take(store, clock, holder, lease);
  let aliveMs = clock.monotonic();
  let isLost = false;
  const lose = (): void => {
    if (!isLost) onLost();
    isLost = true;
  };
  const keep = async (): Promise<void> => {
    // Before the answer: the lease may have been renewed at any moment since.
    const askedMs = clock.monotonic();
    await within(clock, TTL_MS / 2, 'The renewal of the hold', lease.keepAlive());
    aliveMs = askedMs;
  };
  const loop = startLoop({
    clock,
    everyMs: EVERY_MS,
    errorDelayMs: LOOK_MS,
    onError: (error) => {
      if (isFailure(error, 'not_found') || clock.monotonic() - aliveMs > TTL_MS - EVERY_MS) lose();
    },
    run: keep,
  });
  return async () => {
    await loop.stop();
    await lease.revoke().catch(() => undefined);
  };
}

async function take(store: Store, clock: Clock, holder: string, lease: Lease): Promise<void> {
  const untilMs = clock.monotonic() + TTL_MS + EVERY_MS;
  for (;;) {
    const before = await store.get(KEY);
    if (before === undefined || before.value === holder) {
      const compare = [{ key: KEY, revision: before?.revision ?? 0 }];
      const writes = [{ kind: 'put', key: KEY, value: holder, leaseId: lease.id } as const];
      if ((await store.commit({ compare, writes })).committed) return;
      continue;
    }
    if (clock.monotonic() >= untilMs) {
      await lease.revoke().catch(() => undefined);
      throw new Failure('data_in_use', {
        message: `Another control plane uses this store: ${before.value}.`,
        hint: 'Stop it first, or give this platform a name of its own: etcd://…/<name>.',
      });
    }
    // It may be dead: its lease then ends by itself.
    await lease.keepAlive();
    await clock.sleep(LOOK_MS);
  }
}
