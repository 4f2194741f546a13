// Which writes a lease permits: it must be alive, and its keys are bounded, because they all go in one revision.

import { Failure } from '../lib/failure.ts';
import type { Storage } from './storage.ts';
import type { Write } from './store.ts';

/** Keys of one lease. */
const MAX_LEASE_KEYS = 50_000;

export interface LeaseFill {
  /** False when the lease would hold too many keys. */
  add(leaseId: string, count: number): boolean;
  forget(leaseId: string): void;
}

/** Bounds the keys of a lease by an estimate that is never too low; only at the bound are the keys really counted. */
export function createLeaseFill(storage: Storage): LeaseFill {
  const estimates = new Map<string, number>();
  return {
    add: (leaseId, count) => {
      let keys = estimates.get(leaseId);
      if (keys === undefined || keys + count > MAX_LEASE_KEYS) keys = storage.leaseKeyCount(leaseId);
      if (keys + count > MAX_LEASE_KEYS) return false;
      estimates.set(leaseId, keys + count);
      return true;
    },
    forget: (leaseId) => {
      estimates.delete(leaseId);
    },
  };
}

/** Why the writes may not be made under their leases; undefined where they may. */
export function refusedLease(storage: Storage, fill: LeaseFill, writes: readonly Write[]): Failure | undefined {
  const added = new Map<string, number>();
  for (const write of writes) {
    if (write.kind === 'put' && write.leaseId !== undefined) added.set(write.leaseId, (added.get(write.leaseId) ?? 0) + 1);
  }
  for (const [leaseId, count] of added) {
    if (!storage.hasLease(leaseId)) {
      return new Failure('not_found', { message: `The lease ${leaseId} does not exist or has expired.`, details: { leaseId } });
    }
    if (!fill.add(leaseId, count)) {
      return new Failure('too_large', { message: `A lease may hold ${MAX_LEASE_KEYS} keys.`, details: { leaseId } });
    }
  }
  return undefined;
}
