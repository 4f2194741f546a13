// Every record of the given collections in memory, fed by one watch, always at one revision. Read from the view, decide, commit operations
// guarded by the revisions that were read; a lost race is a `conflict`, and the level-triggered caller simply runs again.

import { backoffMs } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { Failure, isFailure, messageOf, toFailure } from '../lib/failure.ts';
import { silentLog } from '../sys/log.ts';
import type { Log } from '../sys/log.ts';
import type { AnyCollection, Collection, Operation, Stored } from './collection.ts';
import { decodeRecord, describeKey, merge } from './records.ts';
import { createRevisionWaiters } from './revision-waiters.ts';
import type { Identified } from './sorted-records.ts';
import type { Change, ChangeBatch, Entry, Store, Transaction } from './store.ts';
import { readSnapshot } from './view-snapshot.ts';
import { createViewTable } from './view-table.ts';
import type { ViewTable } from './view-table.ts';

export interface View {
  readonly revision: number;
  get<T extends { readonly id: string }>(collection: Collection<T>, id: string): Stored<T> | undefined;
  byName<T extends { readonly id: string }>(collection: Collection<T>, name: string): Stored<T> | undefined;
  /** All of a collection in id order. */
  list<T extends { readonly id: string }>(collection: Collection<T>): readonly Stored<T>[];
  /** Those whose index gives this key, in id order. Costs the size of the answer, not of the collection. */
  by<T extends { readonly id: string }>(collection: Collection<T>, index: string, key: string): readonly Stored<T>[];
  /** Called after each applied revision with what changed in the view's collections (`collection name → ids`), when anything did;
   *  must not throw. Returns the unsubscriber. */
  onChange(listener: ChangeListener): () => void;
  /** Commits the merged operations and waits until this view holds the result. Throws `conflict` when a guard failed,
   *  `exists` when a create met an existing id or name; the view then holds what was in the way. An empty list of writes returns at once. */
  commit(...operations: readonly Operation[]): Promise<number>;
  /** Why the store could not take the last commit of this view, such as a full disk; null: it took it. */
  trouble(): Failure | null;
  /** Resolves when the view holds that revision. */
  waitFor(revision: number, signal?: AbortSignal): Promise<void>;
}

export type ChangeListener = (changed: ReadonlyMap<string, ReadonlySet<string>>, revision: number) => void;

export interface ViewOptions {
  readonly store: Store;
  readonly collections: readonly AnyCollection[];
  readonly clock: Clock;
  readonly log?: Log | undefined;
  /** Told every batch of the store, of whatever keys, when the view holds it; must not throw. */
  readonly onBatch?: ((batch: ChangeBatch) => void) | undefined;
  /** Told when all was read anew: what changed up to this revision was not told batch by batch. */
  readonly onLoaded?: ((revision: number) => void) | undefined;
  /** A watch that brings nothing for so long is taken for dead and opened anew; only where somebody writes more often than that. */
  readonly quietMs?: number | undefined;
}

export interface RunningView {
  readonly view: View;
  /** Reads everything, then follows; resolves when the view is complete. Throws `data_newer` for records of a newer version. */
  readonly start: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

const RETRY = { minMs: 100, maxMs: 5000 } as const;

/** `documents` of the wrong type cannot come out of a table: it holds what its own collection decoded. */
type Typed<T> = Stored<T> | undefined;

export function createView({ store, collections, clock, log = silentLog, quietMs, onBatch, onLoaded }: ViewOptions): RunningView {
  const tables = new Map<string, ViewTable>(collections.map((collection) => [collection.name, createViewTable(collection)]));
  const listeners = new Set<ChangeListener>();
  const waiters = createRevisionWaiters();
  const stopping = new AbortController();
  let revision = 0;
  let broken: Failure | null = null;
  let following: Promise<void> | null = null;

  const tableOf = (collection: { readonly name: string }): ViewTable => {
    const table = tables.get(collection.name);
    if (table === undefined) throw new Failure('internal', { message: `The view does not hold the collection ${collection.name}.` });
    return table;
  };

  const arrive = (next: number, changed: ReadonlyMap<string, ReadonlySet<string>>): void => {
    revision = next;
    if (changed.size > 0) {
      for (const listener of listeners) {
        try {
          listener(changed, next);
        } catch (error) {
          log.error({ error: messageOf(error), revision: next }, 'a listener of the view failed');
        }
      }
    }
    waiters.arrived(next);
  };

  const apply = (changes: readonly Change[], next: number): void => {
    // Everything is decoded before anything is applied: a record that cannot be read must not leave half a revision.
    const steps: { readonly table: ViewTable; readonly id: string; readonly record: Stored<Identified> | null }[] = [];
    for (const change of changes) {
      const key = change.kind === 'put' ? change.entry.key : change.key;
      const slash = key.indexOf('/');
      const table = tables.get(key.slice(0, slash));
      if (table === undefined) continue;
      steps.push({ table, id: key.slice(slash + 1), record: change.kind === 'put' ? decode(table, change.entry) : null });
    }
    const changed = new Map<string, Set<string>>();
    for (const { table, id, record } of steps) {
      if (record === null) table.delete(id);
      else table.set(record);
      note(changed, table, id);
    }
    arrive(next, changed);
  };

  const load = async (): Promise<void> => {
    const snapshot = await readSnapshot({ store, prefixes: [...tables.keys()].map((name) => `${name}/`), signal: stopping.signal });
    const fresh = new Map<ViewTable, Map<string, Stored<Identified>>>();
    for (const table of tables.values()) fresh.set(table, new Map());
    for (const entry of snapshot.entries) {
      const table = tables.get(entry.key.slice(0, entry.key.indexOf('/')));
      if (table === undefined) continue;
      const record = decode(table, entry);
      fresh.get(table)?.set(record.document.id, record);
    }
    const changed = new Map<string, Set<string>>();
    for (const [table, records] of fresh) {
      for (const id of table.ids()) {
        if (records.has(id)) continue;
        table.delete(id);
        note(changed, table, id);
      }
      for (const [id, record] of records) {
        if (table.get(id)?.revision === record.revision) continue;
        table.set(record);
        note(changed, table, id);
      }
    }
    arrive(snapshot.revision, changed);
    onLoaded?.(snapshot.revision);
  };

  /** Applies until the watch breaks; returns what broke it. */
  const followOnce = async (): Promise<unknown> => {
    const quiet = new AbortController();
    const listen = (): (() => void) => (quietMs === undefined ? () => undefined : clock.timer(quietMs, () => quiet.abort()));
    let cancel = listen();
    try {
      const signal = AbortSignal.any([stopping.signal, quiet.signal]);
      for await (const batch of store.watch({ prefix: '', fromRevision: revision + 1, signal })) {
        cancel();
        apply(batch.changes, batch.revision);
        onBatch?.(batch);
        cancel = listen();
      }
      const message = quiet.signal.aborted ? `The watch of the store has brought nothing for ${quietMs} ms.` : 'The store ended the watch.';
      return new Failure('unavailable', { message });
    } catch (error) {
      return error;
    } finally {
      cancel();
    }
  };

  const follow = async (): Promise<void> => {
    for (let attempt = 0; ; attempt += 1) {
      const before = revision;
      let problem = await followOnce();
      if (!stopping.signal.aborted && isFailure(problem, 'compacted')) problem = await load().catch((error: unknown) => error);
      if (stopping.signal.aborted) return;
      if (problem === undefined) continue;
      if (isFailure(problem, 'data_newer') || isFailure(problem, 'storage_failed') || isFailure(problem, 'internal')) {
        broken = problem;
        waiters.fail(problem);
        log.error({ error: problem.message }, 'the view stopped: a record cannot be read');
        return;
      }
      if (revision > before) attempt = 0;
      log.warn({ error: messageOf(problem) }, 'the watch of the store broke; trying again');
      await clock.sleep(backoffMs(attempt, RETRY), stopping.signal).catch(() => undefined);
    }
  };

  const waitFor = async (wanted: number, signal?: AbortSignal): Promise<void> => {
    if (wanted <= revision) return;
    if (broken !== null) throw broken;
    if (stopping.signal.aborted) throw stoppedFailure();
    await waiters.wait(wanted, signal);
  };

  let trouble: Failure | null = null;
  const commit = async (...operations: readonly Operation[]): Promise<number> => {
    const transaction = merge(operations);
    if (transaction.writes.length === 0) return revision;
    if (broken !== null) throw broken;
    if (following === null) throw new Failure('unavailable', { message: 'The view of the store is not started yet.' });
    const result = await store.commit(transaction).catch((error: unknown) => {
      if (isFailure(error, 'storage_failed')) trouble = error;
      throw error;
    });
    trouble = null;
    await waitFor(result.revision);
    if (!result.committed) throw lostRace(transaction, result.mismatches);
    return result.revision;
  };

  const view: View = {
    get revision() {
      return revision;
    },
    // The casts: a table holds what its own collection decoded, so its documents are of the collection's type.
    get: <T extends Identified>(collection: Collection<T>, id: string) => tableOf(collection).get(id) as Typed<T>,
    byName: <T extends Identified>(collection: Collection<T>, name: string) => tableOf(collection).byName(name) as Typed<T>,
    list: <T extends Identified>(collection: Collection<T>) => tableOf(collection).list() as readonly Stored<T>[],
    by: <T extends Identified>(collection: Collection<T>, index: string, key: string) =>
      tableOf(collection).by(index, key) as readonly Stored<T>[],
    onChange: (listener) => {
      listeners.add(listener);
      return () => {
        listeners.delete(listener);
      };
    },
    commit,
    trouble: () => trouble,
    waitFor,
  };

  return {
    view,
    start: async () => {
      await load();
      following = follow();
    },
    stop: async () => {
      stopping.abort(stoppedFailure());
      waiters.fail(stoppedFailure());
      await following;
    },
  };
}

function decode(table: ViewTable, entry: Entry): Stored<Identified> {
  try {
    return { document: decodeRecord(table.collection, entry), revision: entry.revision };
  } catch (error) {
    throw toFailure(error);
  }
}

function note(changed: Map<string, Set<string>>, table: ViewTable, id: string): void {
  const ids = changed.get(table.collection.name);
  if (ids === undefined) changed.set(table.collection.name, new Set([id]));
  else ids.add(id);
}

/** `exists` when only creations were refused, otherwise `conflict`: the caller reads again and then meets the clearer error. */
function lostRace(transaction: Transaction, mismatches: readonly string[]): Failure {
  const lost = new Set(mismatches);
  const failed = transaction.compare.filter((comparison) => lost.has(comparison.key));
  const changed = failed.find((comparison) => !('revision' in comparison) || comparison.revision !== 0);
  const first = changed ?? failed.find((comparison) => comparison.key.startsWith('names/')) ?? failed[0];
  const subject = describeKey(first?.key ?? '');
  if (changed === undefined) {
    const what = 'name' in subject ? `named ${subject.name}` : `with the id ${subject.id}`;
    return new Failure('exists', { message: `An entry of ${subject.collection} ${what} exists already.`, details: { ...subject } });
  }
  const which = 'name' in subject ? subject.name : subject.id;
  return new Failure('conflict', {
    message: `${subject.collection}/${which} was changed by somebody else meanwhile.`,
    hint: 'Read it again and repeat the change.',
    details: { ...subject },
  });
}

/** Whether a commit was refused because a record changed after it was read. The view shows that change by now: read again, try again. */
export function isLostRace(error: unknown): boolean {
  return isFailure(error, 'conflict') && error.details?.['collection'] !== undefined;
}

function stoppedFailure(): Failure {
  return new Failure('unavailable', { message: 'The view of the store is stopped.' });
}
