// What a kind of record is: its name, schema version with upgrades, unique name and indexes. A module declares its collections and
// is the only one that builds operations on them; the view (view.ts) holds them all in memory at one revision.

import type { Compare, Write } from './store.ts';

export interface Collection<T extends { readonly id: string }> {
  /** Key prefix: records live at `<name>/<id>`. */
  readonly name: string;
  /** Schema version that is written; 1 or more. */
  readonly version: number;
  /** `upgrades[n]` turns a document of version n into one of n + 1. */
  readonly upgrades: Readonly<Record<number, (old: Readonly<Record<string, unknown>>) => Readonly<Record<string, unknown>>>>;
  /** The document's unique name, if it has one: an index entry `names/<collection>/<name>` is kept in the same commit. */
  readonly uniqueName: ((document: T) => string | null) | null;
  /** Secondary indexes of the view: index name → key(s) of a document. */
  readonly indexes: Readonly<Record<string, (document: T) => string | readonly string[] | null>>;
  /** Phantom, so that T is kept. Never set. */
  readonly documentType?: T;
}

/** A collection of whatever documents, for code that only passes them on. */
export type AnyCollection = Omit<Collection<never>, 'documentType'>;

/** A document with the store revision of its last change, which guards the next one. */
export interface Stored<T> {
  readonly document: T;
  readonly revision: number;
}

/** Part of a commit; several merge into one transaction. */
export interface Operation {
  readonly compare: readonly Compare[];
  readonly writes: readonly Write[];
}

export function defineCollection<T extends { readonly id: string }>(definition: {
  readonly name: string;
  readonly version?: number;
  readonly upgrades?: Collection<T>['upgrades'];
  readonly uniqueName?: (document: T) => string | null;
  readonly indexes?: Collection<T>['indexes'];
}): Collection<T> {
  return {
    name: definition.name,
    version: definition.version ?? 1,
    upgrades: definition.upgrades ?? {},
    uniqueName: definition.uniqueName ?? null,
    indexes: definition.indexes ?? {},
  };
}
