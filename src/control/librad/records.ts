// What Apps keep. Keys and values are not in the view, because only their Apps read them; locks are few and small, and are.

import { defineCollection } from '../../store/collection.ts';
import type { Collection } from '../../store/collection.ts';

export interface KvRecord {
  /** `<environment id>/<key>`. */
  readonly id: string;
  /** New at every change. */
  readonly version: string;
  readonly sealed: string;
  readonly encoding: 'text' | 'base64';
  /** Of key and value, as the quota counts. */
  readonly bytes: number;
  readonly expiresAtMs: number | null;
  readonly updatedAtMs: number;
}

export interface LockRecord {
  /** `<environment id>/<name>`. There is one while somebody holds it. */
  readonly id: string;
  readonly environmentId: string;
  readonly name: string;
  /** Known to whoever holds it. */
  readonly lease: string;
  readonly fence: number;
  readonly value: string;
  readonly instanceId: string;
  readonly entrypoint: string;
  readonly ttlMs: number;
  readonly sinceMs: number;
  /** So that every renewal is a change of the record. */
  readonly renewals: number;
}

/** Of an Environment: the last fence that was given. It outlives the locks, so that fences only grow. */
export interface LockCounter {
  readonly id: string;
  readonly last: number;
}

export const kvRecords: Collection<KvRecord> = defineCollection<KvRecord>({ name: 'kv' });
export const lockRecords: Collection<LockRecord> = defineCollection<LockRecord>({
  name: 'locks',
  indexes: { environment: (lock) => lock.environmentId },
});
export const lockCounterRecords: Collection<LockCounter> = defineCollection<LockCounter>({ name: 'lock-counters' });

export const kvPrefixOf = (environmentId: string): string => `${kvRecords.name}/${environmentId}/`;

/** Keys by the time at which they end: a look at the first few tells what is due. */
export const EXPIRIES = 'kv-expiries/';
const TIME_DIGITS = 15;

export function expiryKey(expiresAtMs: number, kvId: string): string {
  return `${EXPIRIES}${String(expiresAtMs).padStart(TIME_DIGITS, '0')}/${kvId}`;
}

export function parseExpiryKey(key: string): { readonly expiresAtMs: number; readonly kvId: string } {
  const at = EXPIRIES.length + TIME_DIGITS;
  return { expiresAtMs: Number(key.slice(EXPIRIES.length, at)), kvId: key.slice(at + 1) };
}
