// Builders of commit operations on records, and their encoding `{schema, id, version, document}`. None touches the store: a module
// builds operations, the view merges and commits them. A document of a version that this program does not know is never read.

import { Failure } from '../lib/failure.ts';
import type { AnyCollection, Collection, Operation, Stored } from './collection.ts';
import type { Compare, Entry, Transaction, Write } from './store.ts';

interface Identified {
  readonly id: string;
}

export interface WriteOptions {
  /** The record, and its name, die with this lease. */
  readonly leaseId?: string | undefined;
}

/** Where a record is kept. */
function recordKey(collection: { readonly name: string }, id: string): string {
  return `${collection.name}/${id}`;
}

/** Where the index entry of a unique name is kept; its value is the id. */
function nameKey(collection: { readonly name: string }, name: string): string {
  return `${NAMES}/${collection.name}/${name}`;
}

const NAMES = 'names';

/** What a store key stands for, in words for messages and details. */
export function describeKey(
  key: string,
): { readonly collection: string; readonly id: string } | { readonly collection: string; readonly name: string } {
  const [head = '', ...rest] = key.split('/');
  if (head !== NAMES) return { collection: head, id: rest.join('/') };
  const [collection = '', ...name] = rest;
  return { collection, name: name.join('/') };
}

/** A new record. Fails the commit (`exists`) where the id or the unique name exists already. */
export function create<T extends Identified>(collection: Collection<T>, document: T, options: WriteOptions = {}): Operation {
  const key = recordKey(collection, document.id);
  const name = collection.uniqueName?.(document) ?? null;
  const compare: Compare[] = [{ key, revision: 0 }];
  const writes: Write[] = [putRecord(collection, document, options)];
  if (name !== null) {
    compare.push({ key: nameKey(collection, name), revision: 0 });
    writes.push(putName(collection, name, document.id, options));
  }
  return { compare, writes };
}

/**
 * A changed record. Fails the commit (`conflict`) where the record has changed since it was read; follows a change of the unique name.
 * A record that had a lease stays with one only when it is given here.
 */
export function update<T extends Identified>(
  collection: Collection<T>,
  current: Stored<T>,
  next: T,
  options: WriteOptions = {},
): Operation {
  if (next.id !== current.document.id) {
    throw new Failure('internal', {
      message: `An update of ${recordKey(collection, current.document.id)} may not change its id to ${next.id}.`,
    });
  }
  const compare: Compare[] = [...guard(collection, current).compare];
  const writes: Write[] = [putRecord(collection, next, options)];
  const oldName = collection.uniqueName?.(current.document) ?? null;
  const newName = collection.uniqueName?.(next) ?? null;
  if (oldName !== newName) {
    if (oldName !== null) writes.push({ kind: 'delete', key: nameKey(collection, oldName) });
    if (newName !== null) {
      compare.push({ key: nameKey(collection, newName), revision: 0 });
      writes.push(putName(collection, newName, next.id, options));
    }
  } else if (newName !== null && options.leaseId !== undefined) {
    writes.push(putName(collection, newName, next.id, options));
  }
  return { compare, writes };
}

/** Deletes a record and its name. Fails the commit (`conflict`) where the record has changed since it was read. */
export function remove<T extends Identified>(collection: Collection<T>, current: Stored<T>): Operation {
  const writes: Write[] = [{ kind: 'delete', key: recordKey(collection, current.document.id) }];
  const name = collection.uniqueName?.(current.document) ?? null;
  if (name !== null) writes.push({ kind: 'delete', key: nameKey(collection, name) });
  return { compare: guard(collection, current).compare, writes };
}

/** Writes without a guard; for reports of which the last one counts. Only for collections without a unique name. */
export function put<T extends Identified>(collection: Collection<T>, document: T, options: WriteOptions = {}): Operation {
  if (collection.uniqueName !== null) {
    throw new Failure('internal', { message: `Records of ${collection.name} have a unique name; they need create or update, not put.` });
  }
  return { compare: [], writes: [putRecord(collection, document, options)] };
}

/** Only the guard: fails the commit (`conflict`) where the record has changed since it was read. */
export function guard<T extends Identified>(collection: Collection<T>, current: Stored<T>): Operation {
  return { compare: [{ key: recordKey(collection, current.document.id), revision: current.revision }], writes: [] };
}

/** Only the guard: fails the commit (`exists`) where there is such a record by now. */
export function guardAbsence(collection: { readonly name: string }, id: string): Operation {
  return { compare: [{ key: recordKey(collection, id), revision: 0 }], writes: [] };
}

/**
 * One transaction out of several operations. Equal guards count once. Two writes of one key are a defect of the caller (`internal`);
 * two guards of one key at different revisions mean that it was read twice and changed in between (`conflict`).
 */
export function merge(operations: readonly Operation[]): Transaction {
  const revisions = new Map<string, number>();
  const existing = new Set<string>();
  const writes = new Map<string, Write>();
  for (const operation of operations) {
    for (const comparison of operation.compare) {
      if ('exists' in comparison) {
        existing.add(comparison.key);
        continue;
      }
      const other = revisions.get(comparison.key);
      if (other !== undefined && other !== comparison.revision) {
        throw new Failure('conflict', {
          message: `${comparison.key} changed between two reads of the same operation.`,
          details: { ...describeKey(comparison.key) },
        });
      }
      revisions.set(comparison.key, comparison.revision);
    }
    for (const write of operation.writes) {
      if (writes.has(write.key))
        throw new Failure('internal', { message: `One commit writes ${write.key} twice.`, details: { key: write.key } });
      writes.set(write.key, write);
    }
  }
  const compare: Compare[] = Array.from(revisions, ([key, revision]) => ({ key, revision }));
  for (const key of existing) compare.push({ key, exists: true });
  return { compare, writes: [...writes.values()] };
}

/** The stored text of a document. */
export function encodeRecord<T extends Identified>(collection: Collection<T>, document: T): string {
  return JSON.stringify({ schema: collection.name, id: document.id, version: collection.version, document });
}

/**
 * The document of an entry, upgraded to the collection's version. Throws `data_newer` for a version that this program does not know
 * and `storage_failed` for what is no record of this collection.
 */
export function decodeRecord(collection: AnyCollection, entry: Entry): Identified {
  const envelope = parseEnvelope(entry);
  const fits = envelope?.schema === collection.name && recordKey(collection, envelope.id) === entry.key && envelope.version >= 1;
  if (envelope === undefined || !fits) {
    throw new Failure('storage_failed', { message: `The record ${entry.key} is damaged.`, details: { key: entry.key } });
  }
  if (envelope.version > collection.version) {
    throw new Failure('data_newer', {
      message: `The record ${entry.key} has version ${envelope.version} of ${collection.name}; this version of Libra knows up to ${collection.version}.`,
      hint: 'Start the newer version of Libra that wrote it.',
      details: { key: entry.key, version: envelope.version, known: collection.version },
    });
  }
  let document: Readonly<Record<string, unknown>> = envelope.document;
  for (let version = envelope.version; version < collection.version; version += 1) {
    const upgrade = collection.upgrades[version];
    if (upgrade === undefined) {
      throw new Failure('internal', { message: `${collection.name} has no upgrade from version ${version}.`, details: { key: entry.key } });
    }
    document = upgrade(document);
  }
  return { ...document, id: envelope.id };
}

interface Envelope {
  readonly schema: string;
  readonly id: string;
  readonly version: number;
  readonly document: Readonly<Record<string, unknown>>;
}

function parseEnvelope(entry: Entry): Envelope | undefined {
  let value: unknown;
  try {
    value = JSON.parse(entry.value);
  } catch {
    return undefined;
  }
  if (!isObject(value)) return undefined;
  const { schema, id, version, document } = value;
  if (typeof schema !== 'string' || typeof id !== 'string' || typeof version !== 'number' || !isObject(document)) return undefined;
  return { schema, id, version, document };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function putRecord<T extends Identified>(collection: Collection<T>, document: T, { leaseId }: WriteOptions): Write {
  return { kind: 'put', key: recordKey(collection, document.id), value: encodeRecord(collection, document), leaseId };
}

function putName(collection: { readonly name: string }, name: string, id: string, { leaseId }: WriteOptions): Write {
  return { kind: 'put', key: nameKey(collection, name), value: id, leaseId };
}
