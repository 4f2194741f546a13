// What the parts of the store contract share: how an engine is opened for them, and short ways to write and to watch.

import assert from 'node:assert/strict';
import { createFakeClock } from '../lib/clock.ts';
import type { FakeClock } from '../lib/clock.ts';
import { isFailure } from '../lib/failure.ts';
import type { FailureCode } from '../lib/failure.ts';
import type { ChangeBatch, CommitResult, Store, Write } from './store.ts';

/** An opened store of the engine under test. */
export interface StoreUnderTest {
  readonly store: Store;
  /** Closes it and removes what it left. */
  readonly close: () => Promise<void>;
  /** Closes and opens it on the same data; absent for engines that keep none. */
  readonly reopen?: () => Promise<Store>;
}

export interface StoreContractOptions {
  readonly clock: FakeClock;
  /** Revisions of history to keep; the engine's own default when absent. */
  readonly keepRevisions?: number;
}

export type OpenStore = (options: StoreContractOptions) => Promise<StoreUnderTest>;

/** A test of the contract as data, for the parts that stand in files of their own. */
export interface ContractCase {
  /** Only for engines whose data outlives them. */
  readonly durable?: true;
  readonly name: string;
  readonly run: (open: OpenStore, remote: boolean) => Promise<void>;
}

/** Runs with a fresh store and closes it whatever happens. */
export async function withStore(
  open: OpenStore,
  run: (under: StoreUnderTest & { readonly clock: FakeClock }) => Promise<void>,
  options: { readonly keepRevisions?: number } = {},
): Promise<void> {
  const clock = createFakeClock();
  const under = await open({ clock, ...options });
  try {
    await run({ ...under, clock });
  } finally {
    await under.close();
  }
}

export const put = (key: string, value = 'v', leaseId?: string): Write => ({ kind: 'put', key, value, leaseId });
export const del = (key: string): Write => ({ kind: 'delete', key });
export const write = (store: Store, ...writes: readonly Write[]): Promise<CommitResult> => store.commit({ compare: [], writes });
export const rejectsWith = (promise: Promise<unknown>, code: FailureCode): Promise<void> =>
  assert.rejects(promise, (error: unknown) => isFailure(error, code) || assert.fail(`expected ${code}, got ${String(error)}`));

/** All at the same time, where that keeps their order; else one after the other. */
export async function inOrder<T>(remote: boolean, tasks: readonly (() => Promise<T>)[]): Promise<T[]> {
  if (!remote) return await Promise.all(tasks.map((task) => task()));
  const results: T[] = [];
  for (const task of tasks) results.push(await task());
  return results;
}

/** The next `count` batches. */
export async function take(store: Store, fromRevision: number, count: number, prefix = ''): Promise<ChangeBatch[]> {
  const controller = new AbortController();
  const batches: ChangeBatch[] = [];
  try {
    if (count === 0) return batches;
    for await (const batch of store.watch({ prefix, fromRevision, signal: controller.signal })) {
      batches.push(batch);
      if (batches.length === count) break;
    }
    return batches;
  } finally {
    controller.abort();
  }
}
