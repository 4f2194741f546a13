// How keys and values stand in the store: sealed, under their Environment, read from the store itself and never from a view, which may be
// a moment behind: so each control plane answers reads, and every read is linearizable.

import { createHash } from 'node:crypto';
import { Failure, toFailure } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import type { Operation, Stored } from '../../store/collection.ts';
import { create, decodeRecord, remove, update } from '../../store/records.ts';
import type { Entry, ListResult, Store } from '../../store/store.ts';
import type { Sealer } from '../config/sealer.ts';
import type { ControlContext } from '../context.ts';
import { expiryKey, kvPrefixOf, kvRecords } from './records.ts';
import type { KvRecord } from './records.ts';

export interface KvEntry {
  readonly key: string;
  readonly value: string;
  readonly encoding: KvRecord['encoding'];
  readonly version: string;
  readonly expiresAtMs: number | null;
  readonly updatedAtMs: number;
}

export interface KvValue {
  readonly plain: Buffer;
  readonly encoding: KvRecord['encoding'];
  readonly ttlMs: number | undefined;
}

export interface KvStore {
  read(environmentId: string, key: string): Promise<Stored<KvRecord> | undefined>;
  /** A few entries in the order of their keys, as of one revision. */
  page(environmentId: string, prefix: string, after: string | undefined): Promise<ListResult>;
  decode(entry: Entry): Stored<KvRecord>;
  open(record: KvRecord): KvEntry;
  /** The record that a key gets. */
  made(environmentId: string, key: string, value: KvValue): KvRecord;
  /** Throws nothing; what it builds fails its commit where the key has changed since it was read. */
  putting(current: Stored<KvRecord> | undefined, next: KvRecord): readonly Operation[];
  removing(current: Stored<KvRecord>): readonly Operation[];
}

/** Values are long: more at once would be too much in memory. */
const PAGE = 32;

export function createKvStore(
  { store, clock, random }: Pick<ControlContext, 'clock' | 'random'> & { readonly store: Store },
  sealer: Sealer,
): KvStore {
  const decode = (entry: Entry): Stored<KvRecord> => {
    try {
      // The collection's own documents are what a record of its prefix decodes to.
      return { document: decodeRecord(kvRecords, entry) as KvRecord, revision: entry.revision };
    } catch (error) {
      const { code, hint } = toFailure(error);
      // Without the key, which no log shall hold.
      throw new Failure(code, {
        message: 'A value of librad.kv cannot be read: its record is damaged, or of a newer version of Libra.',
        hint,
      });
    }
  };
  const expiry = (record: KvRecord, kind: 'put' | 'delete'): readonly Operation[] => {
    if (record.expiresAtMs === null) return [];
    const key = expiryKey(record.expiresAtMs, record.id);
    return [{ compare: [], writes: [kind === 'put' ? { kind, key, value: '' } : { kind, key }] }];
  };
  return {
    decode,
    read: async (environmentId, key) => {
      const entry = await store.get(kvPrefixOf(environmentId) + key);
      return entry === undefined ? undefined : decode(entry);
    },
    page: async (environmentId, prefix, after) => {
      const start = kvPrefixOf(environmentId);
      return await store.list({ prefix: start + prefix, limit: PAGE, ...(after === undefined ? {} : { after: start + after }) });
    },
    open: (record) => ({
      key: keyOf(record.id),
      value: sealer.open(record.sealed, associatedOf(record)).toString(bufferEncoding(record.encoding)),
      encoding: record.encoding,
      version: record.version,
      expiresAtMs: record.expiresAtMs,
      updatedAtMs: record.updatedAtMs,
    }),
    made: (environmentId, key, { plain, encoding, ttlMs }) => {
      const nowMs = clock.now();
      const named = { id: `${environmentId}/${key}`, version: newId(nowMs, random) };
      return {
        ...named,
        sealed: sealer.seal(plain, associatedOf(named)),
        encoding,
        bytes: key.length + plain.length,
        expiresAtMs: ttlMs === undefined ? null : nowMs + ttlMs,
        updatedAtMs: nowMs,
      };
    },
    putting: (current, next) => {
      if (current === undefined) return [create(kvRecords, next), ...expiry(next, 'put')];
      // The same moment, and so the same entry of the index.
      if (current.document.expiresAtMs === next.expiresAtMs) return [update(kvRecords, current, next)];
      return [update(kvRecords, current, next), ...expiry(current.document, 'delete'), ...expiry(next, 'put')];
    },
    removing: (current) => [remove(kvRecords, current), ...expiry(current.document, 'delete')],
  };
}

export function keyOf(kvId: string): string {
  return kvId.slice(kvId.indexOf('/') + 1);
}

const bufferEncoding = (encoding: KvRecord['encoding']): 'utf8' | 'base64' => (encoding === 'text' ? 'utf8' : 'base64');

/** The bytes of a value as it was sent. Throws `invalid_input` and `too_large`. */
export function bytesOf(value: string, encoding: KvRecord['encoding'], maxBytes: number): Buffer {
  const plain = Buffer.from(value, bufferEncoding(encoding));
  if (encoding === 'base64' && plain.toString('base64') !== value)
    throw new Failure('invalid_input', { message: 'body.value: must be base64 of the standard alphabet, with padding.' });
  if (!value.isWellFormed())
    throw new Failure('invalid_input', {
      message: 'body.value: is not well-formed text.',
      hint: 'Send bytes with `"encoding": "base64"`.',
    });
  if (plain.length <= maxBytes) return plain;
  throw new Failure('too_large', {
    message: `The value has ${plain.length} bytes; ${maxBytes} are allowed.`,
    hint: 'Keep what is large in a volume or a database, and its place here.',
    details: { bytes: plain.length, maxBytes },
  });
}

/** Failures name it, and a key is nobody's but its App's. */
function associatedOf({ id, version }: Pick<KvRecord, 'id' | 'version'>): string {
  return `kv/${createHash('sha256').update(id).digest('hex')}@${version}`;
}
