// Records in id order that are read far more often than changed: a change costs a binary search, a read costs nothing until the next
// change. What a reader was given never changes under its hands.

import type { Stored } from './collection.ts';

export interface Identified {
  readonly id: string;
}

export interface SortedRecords {
  readonly size: number;
  set(record: Stored<Identified>): void;
  delete(id: string): void;
  list(): readonly Stored<Identified>[];
}

export function createSortedRecords(): SortedRecords {
  const records: Stored<Identified>[] = [];
  let snapshot: readonly Stored<Identified>[] | null = null;

  const place = (id: string): number => {
    // Ids are made in time order, so most new ones belong at the end.
    const last = records.at(-1);
    if (last === undefined || last.document.id < id) return records.length;
    let low = 0;
    let high = records.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((records[middle]?.document.id ?? '') < id) low = middle + 1;
      else high = middle;
    }
    return low;
  };

  return {
    get size() {
      return records.length;
    },
    set: (record) => {
      const at = place(record.document.id);
      if (records[at]?.document.id === record.document.id) records[at] = record;
      else if (at === records.length) records.push(record);
      else records.splice(at, 0, record);
      snapshot = null;
    },
    delete: (id) => {
      const at = place(id);
      if (records[at]?.document.id !== id) return;
      records.splice(at, 1);
      snapshot = null;
    },
    list: () => (snapshot ??= records.slice()),
  };
}
