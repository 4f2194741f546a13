// DRAFT CONTRACT, to be replaced by the implementation: what records.ts and view.ts offer to the control modules. Read from the view, decide, commit operations guarded by the revisions
// that were read; a lost race is a `conflict`, and the level-triggered caller simply runs again.

import type { Collection, Operation, Stored } from './collection.ts';

/** records.ts: builders of operations. None touches the store. */
export interface Records {
  /** Fails the commit where the id or the unique name exists already. */
  create<T extends { readonly id: string }>(collection: Collection<T>, document: T, options?: { readonly leaseId?: string }): Operation;
  /** Fails the commit where the record has changed since it was read; follows a change of the unique name. */
  update<T extends { readonly id: string }>(collection: Collection<T>, current: Stored<T>, next: T): Operation;
  /** Fails the commit where the record has changed since it was read. */
  remove<T extends { readonly id: string }>(collection: Collection<T>, current: Stored<T>): Operation;
  /** Writes without a guard; for reports of which the last one counts. Only for collections without a unique name. */
  put<T extends { readonly id: string }>(collection: Collection<T>, document: T, options?: { readonly leaseId?: string }): Operation;
  /** Only the guard: fails the commit where the record has changed since it was read. */
  guard<T extends { readonly id: string }>(collection: Collection<T>, current: Stored<T>): Operation;
}

/** view.ts: every record of the given collections in memory, fed by one watch, always at one revision. */
export interface View {
  readonly revision: number;
  get<T extends { readonly id: string }>(collection: Collection<T>, id: string): Stored<T> | undefined;
  byName<T extends { readonly id: string }>(collection: Collection<T>, name: string): Stored<T> | undefined;
  /** All of a collection in id order. */
  list<T extends { readonly id: string }>(collection: Collection<T>): readonly Stored<T>[];
  /** Those whose index gives this key, in id order. Costs the size of the answer, not of the collection. */
  by<T extends { readonly id: string }>(collection: Collection<T>, index: string, key: string): readonly Stored<T>[];
  /** Called after each applied revision with what changed (`collection name → ids`); must not throw. Returns the unsubscriber. */
  onChange(listener: (changed: ReadonlyMap<string, ReadonlySet<string>>, revision: number) => void): () => void;
  /** Commits the merged operations and waits until this view holds the result. Throws `conflict` when a guard failed,
   *  `exists` when a create met an existing id or name. An empty list of writes returns at once. */
  commit(...operations: readonly Operation[]): Promise<number>;
  /** Resolves when the view holds that revision. */
  waitFor(revision: number, signal?: AbortSignal): Promise<void>;
}
