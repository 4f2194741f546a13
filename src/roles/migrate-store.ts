// `libra store migrate`: both stores are opened and held, so that no platform uses them meanwhile.

import { loadSettings } from '../config.ts';
import type { Settings } from '../config.ts';
import { systemClock } from '../lib/clock.ts';
import type { Clock } from '../lib/clock.ts';
import { newId } from '../lib/id.ts';
import { Failure } from '../lib/failure.ts';
import { LEADER_ID, LEADER_KEY, leaderRecords } from '../control/leadership/records.ts';
import { ELECTION_TTL_MS, standForElection } from '../store/election.ts';
import { encodeRecord } from '../store/records.ts';
import { acquireDataLock } from '../store/lock.ts';
import { migrateStore } from '../store/migrate.ts';
import type { Store } from '../store/store.ts';
import { openAny } from './open-store.ts';
import { makeDataFolders } from './paths.ts';
import type { DataPaths } from './paths.ts';

export interface MigrateLocalOptions {
  readonly local: Settings;
  readonly paths: DataPaths;
  /** null: the one that the settings name. */
  readonly from: string | null;
  readonly to: string;
  readonly onProgress: (copied: number) => void;
}

export async function migrateLocalStore({ local, paths, from, to, onProgress }: MigrateLocalOptions): Promise<number> {
  const clock = systemClock;
  // Names are checked as those of the settings are.
  const parsed = (name: string): string => loadSettings({ store: name }, { env: {}, uid: 0 }).store ?? 'sqlite';
  const [source, target] = [parsed(from ?? local.store ?? 'sqlite'), parsed(to)];
  if (source === target) throw new Failure('invalid_input', { message: `The store is ${target} already.` });
  if ([source, target].includes('memory')) throw new Failure('invalid_input', { message: 'What is in memory ends with the platform.' });
  await makeDataFolders(paths, local.isRoot);
  const undo: (() => Promise<void> | void)[] = [];
  try {
    const lock = await acquireDataLock(paths.data, { who: { pid: process.pid, startedAtMs: clock.now(), apiUrl: null } });
    undo.push(() => lock.release());
    const open = async (name: string): Promise<Store> => {
      const { store, isShared } = await openAny(local, name, { file: paths.store, clock });
      undo.push(() => store.close());
      if (isShared) undo.push(await holdStore(store, clock));
      return store;
    };
    return await migrateStore({ from: await open(source), to: await open(target), clock, onProgress });
  } finally {
    for (const step of undo.reverse()) await step();
  }
}

/** Leads, so that no control plane does. Resolves with what gives it back; throws `data_in_use` where one does and stays. */
async function holdStore(store: Store, clock: Clock): Promise<() => Promise<void>> {
  const id = newId(clock.now());
  const taken = Promise.withResolvers<void>();
  const election = standForElection({
    store,
    clock,
    key: LEADER_KEY,
    value: encodeRecord(leaderRecords, { id: LEADER_ID, controlId: id, url: null }),
    isOwn: (value) => value.includes(id),
    presence: [],
    onTaken: () => taken.resolve(),
    // One that is lost in the middle is a copy that was broken off.
    onLost: () => undefined,
  });
  const late = new AbortController();
  // Whoever was killed is gone by then.
  const wait = clock.sleep(ELECTION_TTL_MS * 2, late.signal).then(
    () => false,
    () => false,
  );
  const isTaken = await Promise.race([taken.promise.then(() => true), wait]);
  late.abort();
  if (isTaken) return () => election.stop();
  await election.stop();
  throw new Failure('data_in_use', {
    message: 'A control plane uses this store.',
    hint: 'Stop it first, on whichever machine it runs: libra down',
  });
}
