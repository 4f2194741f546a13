// Makes writes with an Idempotency-Key safe to repeat. A key is recorded before its handler runs, with the id that the handler shall
// give to what it makes; so a repeat after kill −9 meets what the first one committed, and after the reply it gets that reply again.

import { createHash } from 'node:crypto';
import type { Clock } from '../lib/clock.ts';
import { Failure, isFailure } from '../lib/failure.ts';
import { newId } from '../lib/id.ts';
import type { Random } from '../lib/id.ts';
import type { CommitResult, Lease, Store } from '../store/store.ts';

export interface KeptReply {
  readonly status: number;
  /** JSON text; null for an empty reply. */
  readonly body: string | null;
}

export type Begun =
  /** Run it. `finish` keeps the reply, which for `secret` nobody gets again; `abandon` lets a repeat run again with the same recordId. */
  | { readonly state: 'run'; readonly recordId: string; finish(reply: KeptReply | 'secret'): Promise<void>; abandon(): void }
  | { readonly state: 'replay'; readonly reply: KeptReply };

export interface IdempotencyStore {
  /** Throws `idempotency_mismatch` for another request under the same key, `conflict` (details.inFlight) while the first is at work. */
  begin(principal: string, key: string, requestHash: string): Promise<Begun>;
}

/** How long a key is remembered at least. */
export const IDEMPOTENCY_TTL_MS = 24 * 3600_000;
const LEASE_SLACK_MS = 3600_000;
const REPLY_LIMIT_BYTES = 200 * 1024;
const IN_FLIGHT_LIMIT = 10_000;

interface KeyRecord {
  readonly schema: 1;
  readonly requestHash: string;
  readonly recordId: string;
  /** null until it is done. */
  readonly reply: KeptReply | 'too large' | 'secret' | null;
}

export function requestHash(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest('hex');
}

export function createIdempotencyStore(deps: { readonly store: Store; readonly clock: Clock; readonly random: Random }): IdempotencyStore {
  const { store, clock, random } = deps;
  const inFlight = new Set<string>();
  let lease: { readonly made: Promise<Lease>; readonly atMs: number } | null = null;

  /** Keys share a lease for an hour, so that there are few of them. */
  const currentLease = async (): Promise<string> => {
    if (lease === null || clock.monotonic() - lease.atMs > LEASE_SLACK_MS) {
      const made = store.lease({ ttlMs: IDEMPOTENCY_TTL_MS + LEASE_SLACK_MS });
      lease = { made, atMs: clock.monotonic() };
      made.catch(() => {
        lease = null;
      });
    }
    return (await lease.made).id;
  };

  const write = async (key: string, record: KeyRecord, revision: number): Promise<number> => {
    const put = async (): Promise<CommitResult> => {
      const leaseId = await currentLease();
      return await store.commit({ compare: [{ key, revision }], writes: [{ kind: 'put', key, value: JSON.stringify(record), leaseId }] });
    };
    const result = await put().catch(async (error: unknown) => {
      // The lease has expired while the machine slept: its clock ran on, ours did not.
      if (!isFailure(error, 'not_found')) throw error;
      lease = null;
      return await put();
    });
    if (!result.committed) throw busy();
    return result.revision;
  };

  const open = async (key: string, hash: string): Promise<Begun> => {
    const entry = await store.get(key);
    const old = entry === undefined ? null : (JSON.parse(entry.value) as KeyRecord); // written by this module only
    if (old !== null && old.requestHash !== hash) {
      throw new Failure('idempotency_mismatch', {
        message: 'This Idempotency-Key was used before with another request.',
        hint: 'Use a new key for each different request.',
      });
    }
    if (old?.reply === 'too large') {
      throw new Failure('exists', { message: 'This request was carried out before; its reply was too large to be kept.' });
    }
    if (old?.reply === 'secret') {
      throw new Failure('exists', {
        message: 'This request was carried out before; its reply holds a secret, which is told only once.',
        hint: 'Take back what it made, and ask anew with another Idempotency-Key.',
      });
    }
    if (old !== null && old.reply !== null) return { state: 'replay', reply: old.reply };
    // An unfinished record that is not at work here was left by a killed process: go on with its recordId.
    const recordId = old?.recordId ?? newId(clock.now(), random);
    const begun: KeyRecord = { schema: 1, requestHash: hash, recordId, reply: null };
    const revision = await write(key, begun, entry?.revision ?? 0);
    return {
      state: 'run',
      recordId,
      finish: async (reply) => {
        try {
          const tooLarge = reply !== 'secret' && Buffer.byteLength(reply.body ?? '') > REPLY_LIMIT_BYTES;
          await write(key, { ...begun, reply: tooLarge ? 'too large' : reply }, revision);
        } finally {
          inFlight.delete(key);
        }
      },
      abandon: () => {
        inFlight.delete(key);
      },
    };
  };

  return {
    begin: async (principal, idempotencyKey, hash) => {
      const key = `idempotency/${requestHash([principal, idempotencyKey])}`;
      if (inFlight.has(key)) throw busy();
      if (inFlight.size >= IN_FLIGHT_LIMIT) throw new Failure('rate_limited', { message: 'Too many writes are at work.' });
      inFlight.add(key);
      try {
        const begun = await open(key, hash);
        if (begun.state === 'replay') inFlight.delete(key);
        return begun;
      } catch (error) {
        inFlight.delete(key);
        throw error;
      }
    },
  };
}

function busy(): Failure {
  return new Failure('conflict', {
    message: 'An earlier request with this Idempotency-Key is still at work.',
    hint: 'Try again in a moment.',
    details: { inFlight: true },
  });
}
