// One collection in memory with its name and secondary indexes, kept up to date record by record.

import { Failure } from '../lib/failure.ts';
import type { AnyCollection, Stored } from './collection.ts';
import { createSortedRecords } from './sorted-records.ts';
import type { Identified, SortedRecords } from './sorted-records.ts';

export interface ViewTable {
  readonly collection: AnyCollection;
  get(id: string): Stored<Identified> | undefined;
  byName(name: string): Stored<Identified> | undefined;
  list(): readonly Stored<Identified>[];
  by(index: string, key: string): readonly Stored<Identified>[];
  ids(): Iterable<string>;
  set(record: Stored<Identified>): void;
  delete(id: string): void;
}

type Index = (document: Identified) => string | readonly string[] | null;

const NONE: readonly Stored<Identified>[] = [];

export function createViewTable(collection: AnyCollection): ViewTable {
  // The documents of this table were made by this collection, so its functions may be given them.
  const nameOf = collection.uniqueName as ((document: Identified) => string | null) | null;
  const indexes = Object.entries(collection.indexes as Readonly<Record<string, Index>>); // for the same reason
  const records = new Map<string, Stored<Identified>>();
  const all = createSortedRecords();
  const names = new Map<string, string>();
  const buckets = new Map<string, Map<string, SortedRecords>>(indexes.map(([name]) => [name, new Map<string, SortedRecords>()]));

  const unlink = ({ document }: Stored<Identified>): void => {
    const name = nameOf?.(document) ?? null;
    if (name !== null && names.get(name) === document.id) names.delete(name);
    for (const [index, keysOf] of indexes) {
      const byKey = buckets.get(index);
      for (const key of keyList(keysOf(document))) {
        const bucket = byKey?.get(key);
        bucket?.delete(document.id);
        if (bucket?.size === 0) byKey?.delete(key);
      }
    }
  };

  const link = (record: Stored<Identified>): void => {
    const name = nameOf?.(record.document) ?? null;
    if (name !== null) names.set(name, record.document.id);
    for (const [index, keysOf] of indexes) {
      const byKey = buckets.get(index);
      for (const key of keyList(keysOf(record.document))) {
        let bucket = byKey?.get(key);
        if (bucket === undefined) {
          bucket = createSortedRecords();
          byKey?.set(key, bucket);
        }
        bucket.set(record);
      }
    }
  };

  return {
    collection,
    get: (id) => records.get(id),
    byName: (name) => {
      const id = names.get(name);
      return id === undefined ? undefined : records.get(id);
    },
    list: () => all.list(),
    by: (index, key) => {
      const byKey = buckets.get(index);
      if (byKey === undefined) throw new Failure('internal', { message: `The collection ${collection.name} has no index ${index}.` });
      return byKey.get(key)?.list() ?? NONE;
    },
    ids: () => records.keys(),
    set: (record) => {
      const before = records.get(record.document.id);
      if (before !== undefined) unlink(before);
      records.set(record.document.id, record);
      all.set(record);
      link(record);
    },
    delete: (id) => {
      const before = records.get(id);
      if (before === undefined) return;
      unlink(before);
      records.delete(id);
      all.delete(id);
    },
  };
}

function keyList(keys: string | readonly string[] | null): readonly string[] {
  if (keys === null) return [];
  return typeof keys === 'string' ? [keys] : keys;
}
