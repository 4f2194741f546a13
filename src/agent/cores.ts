// Which cores of the machine an attempt may run on: its own where it has some, else those that nobody has to himself. A core becomes
// somebody's own only after everybody else has left it, and nothing is started in between.

import type { Driver, DriverHandle } from '../driver/contract.ts';
import { messageOf } from '../lib/failure.ts';
import type { Log } from '../sys/log.ts';

/** An Instance as far as it matters here. */
export interface CoreUser {
  readonly id: string;
  /** Of its own; null: it shares. */
  readonly cores: readonly number[] | null;
  /** Nothing of it will run again. */
  readonly isOver: boolean;
  /** Of what runs; null: nothing does. */
  readonly running: { readonly driver: Driver; readonly handle: DriverHandle } | null;
}

export interface Cores {
  /** Starts an attempt on its cores; null: on all. */
  launch<T>(id: string, start: (cores: readonly number[] | null) => Promise<T>): Promise<T>;
  /** To be called when an Instance came or is over. */
  divide(): void;
}

/** @param count of the machine. @param users all Instances of this Node. */
export function createCores(deps: { readonly count: number; readonly users: () => readonly CoreUser[]; readonly log: Log }): Cores {
  const all = Array.from({ length: deps.count }, (_unused, core) => core);
  /** What those that share run on; null: nobody was ever told to keep to it. */
  let pool: readonly number[] | null = null;
  let gate: Promise<void> = Promise.resolve();
  let planned = '';
  const starting = new Set<Promise<unknown>>();

  const shared = (): readonly number[] | null => {
    const taken = new Set(deps.users().flatMap(({ cores, isOver }) => (isOver ? [] : (cores ?? []))));
    if (taken.size === 0 && pool === null) return null;
    const free = all.filter((core) => !taken.has(core));
    return free.length === 0 ? all : free;
  };

  const confine = async (cores: readonly number[]): Promise<void> => {
    // What is being started was given the cores of before.
    await Promise.allSettled(starting);
    pool = cores;
    for (const { id, cores: own, running } of deps.users()) {
      if (own !== null || running === null) continue;
      try {
        await running.driver.confine?.(running.handle, cores);
      } catch (error) {
        deps.log.warn({ instanceId: id, error: messageOf(error) }, 'an Instance is not kept off the cores of others');
      }
    }
  };

  return {
    divide: () => {
      const cores = shared();
      const plan = cores === null ? '' : cores.join(',');
      if (cores === null || plan === planned) return;
      planned = plan;
      gate = gate.then(() => confine(cores));
    },
    launch: async (id, start) => {
      await gate;
      const own = deps.users().find((user) => user.id === id)?.cores ?? null;
      const started = start(own ?? pool);
      starting.add(started);
      try {
        return await started;
      } finally {
        starting.delete(started);
      }
    },
  };
}
