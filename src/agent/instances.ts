// All Instances of this Node: brings what control wants together with what runs, and forgets what control no longer knows.

import type { DesiredInstance } from '../api/agent.ts';
import type { Driver } from '../driver/contract.ts';
import { messageOf } from '../lib/failure.ts';
import type { Log } from '../sys/log.ts';
import { within } from '../lib/deadline.ts';
import { createCores } from './cores.ts';
import type { CoreUser } from './cores.ts';
import { unseenEnd } from './ends.ts';
import type { IdentityTokens } from './identity-tokens.ts';
import { newInstanceState, restoredState } from './instance-state.ts';
import type { InstanceState } from './instance-state.ts';
import type { SecretFiles } from './secret-files.ts';
import type { StateFiles } from './state-file.ts';
import { createSupervisor } from './supervisor.ts';
import type { Supervisor, SupervisorDeps } from './supervisor.ts';

const SWEEP_DEADLINE_MS = 30_000;
/** What a driver gets beyond the stop timeout to kill and to clear up, milliseconds. */
const KILL_MARGIN_MS = 3000;

export interface Instances {
  get(id: string): Supervisor | undefined;
  all(): readonly Supervisor[];
  /** Loads what an earlier agent left and finds out what became of it. */
  recover(): Promise<void>;
  /** All that shall be. What is not in it is stopped and forgotten. */
  replace(wanted: readonly DesiredInstance[]): void;
  put(wanted: DesiredInstance): void;
  /** Stops it and forgets it. */
  drop(id: string): void;
  /** Ends what runs under the drivers' names for Instances that nobody knows. Starts wait for it. */
  sweep(): Promise<void>;
  /** Stops all programs, in parallel, without making that final: the next start begins new attempts. */
  stopAll(timeoutMs: number): Promise<void>;
  detach(): Promise<void>;
}

export interface InstancesOptions extends Omit<SupervisorDeps, 'onChange' | 'sweep' | 'sweepDone' | 'cores'> {
  /** Cores of this machine. */
  readonly coreCount: number;
  readonly drivers: readonly Driver[];
  readonly states: StateFiles;
  readonly secrets: Pick<SecretFiles, 'sweep'>;
  readonly tokens: Pick<IdentityTokens, 'sweep'>;
  readonly log: Log;
  readonly onChange: (state: InstanceState) => void;
  /** It has ended for good, and its folder is about to go. */
  readonly beforeForgotten: (id: string) => Promise<void>;
  /** Its folder is gone. */
  readonly onForgotten: (id: string) => void;
}

export function createInstances(options: InstancesOptions): Instances {
  const supervisors = new Map<string, Supervisor>();
  const dropped = new Set<string>();
  const forgetting = new Map<string, Promise<void>>();
  /** Wanted again while they were being forgotten. */
  const late = new Map<string, DesiredInstance>();
  /** What was there of them cannot be read. */
  const damaged = new Set<string>();
  let sweeping: Promise<void> = Promise.resolve();
  const cores = createCores({
    count: options.coreCount,
    log: options.log,
    users: () =>
      [...supervisors.values()].map((supervisor): CoreUser => {
        const { id, cores: own, activity, handle, driver: name } = supervisor.state();
        const driver = options.driver(name);
        const running = handle === null || driver === undefined ? null : { driver, handle };
        return { id, cores: own ?? null, isOver: activity === 'done', running };
      }),
  });

  const add = (state: InstanceState): Supervisor => {
    const supervisor = createSupervisor({ ...options, cores, sweep, sweepDone: () => sweeping, onChange: changed }, state);
    supervisors.set(state.id, supervisor);
    return supervisor;
  };

  const changed = (state: InstanceState): void => {
    options.onChange(state);
    if (state.activity === 'done') cores.divide();
    if (state.activity === 'done' && dropped.has(state.id)) forget(state.id);
  };

  const forget = (id: string): void => {
    const supervisor = supervisors.get(id);
    if (supervisor === undefined || forgetting.has(id)) return;
    const going = (async () => {
      await supervisor.settled();
      await supervisor.detach();
      await options.beforeForgotten(id);
      await options.states.remove(id);
      supervisors.delete(id);
      dropped.delete(id);
      options.onForgotten(id);
    })()
      .catch((error: unknown) => options.log.error({ instanceId: id, error: messageOf(error) }, 'the folder of an Instance is not deleted'))
      .finally(() => {
        forgetting.delete(id);
        const again = late.get(id);
        late.delete(id);
        if (again !== undefined) put(again);
      });
    forgetting.set(id, going);
  };

  /** Nobody can know whether a one-off whose state is damaged has run: it is not run again. */
  const firstState = (wanted: DesiredInstance): InstanceState => {
    const state = newInstanceState(wanted);
    return damaged.has(wanted.id) && !state.service ? { ...state, activity: 'done', outcome: 'unknown', reason: unseenEnd(state) } : state;
  };

  const drop = (id: string): void => {
    late.delete(id);
    const supervisor = supervisors.get(id);
    if (supervisor === undefined) return;
    dropped.add(id);
    supervisor.send({ kind: 'dropped' });
    if (supervisor.state().activity === 'done') forget(id);
  };

  const sweep = (): Promise<void> => {
    sweeping = sweeping.then(sweepNow).catch(logFailure('swept'));
    return sweeping;
  };

  const sweepNow = async (): Promise<void> => {
    const keys = new Set(
      [...supervisors.values()]
        .map((supervisor) => supervisor.state())
        .filter(mayRun)
        .map(keyOf),
    );
    for (const driver of options.drivers) {
      const ended = await within(options.clock, SWEEP_DEADLINE_MS, `The sweep of ${driver.info.name}`, driver.sweep(keys));
      if (ended.length > 0) options.log.warn({ driver: driver.info.name, keys: ended }, 'ended programs of unknown Instances');
    }
    for (const kept of [options.secrets, options.tokens]) await kept.sweep(new Set(supervisors.keys()));
  };

  const logFailure =
    (what: string) =>
    (error: unknown): void =>
      options.log.error({ error: messageOf(error) }, `not ${what}`);

  const put = (wanted: DesiredInstance): void => {
    if (forgetting.has(wanted.id)) {
      late.set(wanted.id, wanted);
      return;
    }
    dropped.delete(wanted.id);
    const supervisor = supervisors.get(wanted.id) ?? add(firstState(wanted));
    // Before it starts: others leave what is its own.
    cores.divide();
    supervisor.send({ kind: 'desired', spec: wanted });
  };

  return {
    get: (id) => supervisors.get(id),
    all: () => [...supervisors.values()],
    recover: async () => {
      const found = await options.states.load();
      for (const id of found.damaged) damaged.add(id);
      for (const state of found.states) add(restoredState(state));
      cores.divide();
      await Promise.all(
        [...supervisors.values()].map((supervisor) =>
          supervisor.recover().catch((error: unknown) => {
            options.log.error({ instanceId: supervisor.state().id, error: messageOf(error) }, 'an Instance could not be looked at');
          }),
        ),
      );
    },
    replace: (wanted) => {
      const ids = new Set(wanted.map((instance) => instance.id));
      for (const id of supervisors.keys()) if (!ids.has(id)) drop(id);
      for (const instance of wanted) put(instance);
    },
    put,
    drop,
    sweep,
    stopAll: async (timeoutMs) => {
      const all = [...supervisors.values()];
      const hurried = all.map((supervisor) => supervisor.hurry(timeoutMs).catch(logFailure('hurried')));
      for (const supervisor of all) supervisor.send({ kind: 'shutdown' });
      const over = new AbortController();
      const stopped = Promise.all([...hurried, ...all.map((supervisor) => supervisor.settled())]);
      const late = options.clock.sleep(timeoutMs + KILL_MARGIN_MS, over.signal).then(
        () => options.log.error({}, 'some programs could not be stopped in time'),
        () => undefined,
      );
      await Promise.race([stopped, late]);
      over.abort(new Error('all stopped'));
    },
    detach: async () => {
      await Promise.all([...supervisors.values()].map((supervisor) => supervisor.detach()));
      await Promise.all(forgetting.values());
    },
  };
}

/** Something of it may be running. */
export const mayRun = (state: InstanceState): boolean => state.handle !== null || state.activity === 'launching' || state.relaunch;
const keyOf = (state: InstanceState): string => `${state.id}.${state.attempt}`;
