// Carries out what machine.ts decides for one Instance: every effect runs once and answers with one event. State is on disk before a
// driver is asked to start anything.

import type { DesiredInstance } from '../api/agent.ts';
import type { Driver, DriverHandle, RunSpec, RunState } from '../driver/contract.ts';
import { builtImage } from '../model/built-image.ts';
import { backoffMs } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { isFailure, messageOf } from '../lib/failure.ts';
import type { Random } from '../lib/id.ts';
import type { ReasonCode } from '../model/documents.ts';
import type { Log } from '../sys/log.ts';
import type { Cores } from './cores.ts';
import { sharesPorts } from './container-part.ts';
import { commandWords } from './environment.ts';
import { within } from '../lib/deadline.ts';
import { runHooks } from './hooks.ts';
import type { Effect, End, InstanceState } from './instance-state.ts';
import type { InstanceEvent } from './machine.ts';
import { step } from './machine.ts';
import type { BuildResults } from './build-result.ts';
import type { Ports } from './ports.ts';
import { endReason, lastLines, reason, thrownReason } from './reasons.ts';
import type { StateFiles } from './state-file.ts';
import type { Workspace } from './workspace.ts';
import { startWatch } from './watch.ts';
import type { Watch } from './watch.ts';

const LAUNCH_DEADLINE_MS = 60_000;
/** How long children of a program that ended by itself get to end, milliseconds. */
const REMAINS_TIMEOUT_MS = 1000;
const RETRY = { minMs: 500, maxMs: 30_000 };

export interface SupervisorDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly driver: (name: string) => Driver | undefined;
  readonly states: StateFiles;
  readonly workspace: Workspace;
  readonly ports: Ports;
  readonly cores: Cores;
  readonly results: BuildResults;
  readonly staticServer: readonly string[];
  /** Address that programs of this Node are reached at by its own Edge. */
  readonly host: string;
  /** Ends what runs under keys that no Instance has; resolves when that is done. */
  readonly sweep: () => Promise<void>;
  /** Resolves when no sweep is going on. A start during a sweep could be taken for an orphan. */
  readonly sweepDone: () => Promise<void>;
  readonly onChange: (state: InstanceState) => void;
}

export interface Supervisor {
  state(): InstanceState;
  spec(): DesiredInstance | null;
  /** The attempt that runs, for logs and exec; null where none does. */
  running(): { readonly driver: Driver; readonly handle: DriverHandle; readonly run: RunSpec } | null;
  send(event: InstanceEvent): void;
  /** After a restart of the agent: finds out what became of the program. Resolves when that is known. */
  recover(): Promise<void>;
  /** Limits every stop from now on, the one in progress included, to this many milliseconds. */
  hurry(timeoutMs: number): Promise<void>;
  /** Stops watching and leaves everything as it is; resolves when nothing of this object is under way. */
  detach(): Promise<void>;
  /** Resolves when all effects so far are through. */
  settled(): Promise<void>;
}

export function createSupervisor(deps: SupervisorDeps, initial: InstanceState): Supervisor {
  const { clock, workspace } = deps;
  const log = deps.log.child({ instanceId: initial.id });
  const detached = new AbortController();
  const inbox: InstanceEvent[] = [];
  const running = new Set<Promise<void>>();
  let state = initial;
  let spec: DesiredInstance | null = null;
  let draining = false;
  let saving: Promise<void> = Promise.resolve();
  let saveQueued = false;
  let watch: Watch | null = null;
  /** Preparing or packing, one at a time. */
  let work: AbortController | null = null;
  let hooks: AbortController | null = null;
  let cancelWait: (() => void) | null = null;
  let stopCapMs: number | null = null;
  /** Attempt that this agent saw start. */
  let launchedHere = 0;

  const driverOf = (): Driver => {
    const driver = deps.driver(state.driver);
    if (driver === undefined) throw new Error(`This Node has no driver ${state.driver}.`);
    return driver;
  };

  /** Writes follow each other; those that wait are one. */
  const save = (): void => {
    if (saveQueued) return;
    saveQueued = true;
    saving = saving.then(async () => {
      saveQueued = false;
      await deps.states.save(state, { durable: false }).catch((error: unknown) => {
        log.error({ error: messageOf(error) }, 'state not saved');
      });
    });
  };

  const saveDurably = (): Promise<void> => {
    const saved = saving.then(() => deps.states.save(state, { durable: true }));
    saving = saved.catch(() => undefined);
    return saved;
  };

  const send = (event: InstanceEvent): void => {
    if (detached.signal.aborted) return;
    if (event.kind === 'desired' && event.spec.generation >= state.generation) spec = { ...event.spec, driver: state.driver };
    inbox.push(event);
    if (draining) return;
    draining = true;
    try {
      for (let next = inbox.shift(); next !== undefined; next = inbox.shift()) {
        const result = step(state, next);
        if (result.state !== state) {
          state = result.state;
          save();
          deps.onChange(state);
        }
        for (const effect of result.effects) run(effect);
      }
    } finally {
      draining = false;
    }
  };

  const run = (effect: Effect): void => {
    const going = carryOut(effect).catch((error: unknown) => {
      if (!detached.signal.aborted) log.error({ effect: effect.kind, error: messageOf(error) }, 'an effect failed');
    });
    running.add(going);
    void going.finally(() => running.delete(going));
  };

  const carryOut = async (effect: Effect): Promise<void> => {
    // Never within the turn that decided it: effects answer through `send`.
    await Promise.resolve();
    if (detached.signal.aborted) return;
    switch (effect.kind) {
      case 'prepare':
        return prepare();
      case 'cancel-work':
        work?.abort(new Error('no longer wanted'));
        return;
      case 'launch':
        return launch();
      case 'watch':
        return startWatching();
      case 'after-start':
        return afterStart();
      case 'close':
        return close(effect.alive);
      case 'wait':
        cancelWait = clock.timer(effect.ms, () => send({ kind: 'due' }));
        return;
      case 'cancel-wait':
        cancelWait?.();
        return;
      case 'pack':
        return pack();
      case 'sweep':
        return deps.sweep();
      case 'clean':
        deps.ports.release(state.id);
        await deps.sweepDone();
        return workspace.clean(state.id);
    }
  };

  const runSpec = (): RunSpec => {
    if (spec === null) throw new Error(`the spec of ${state.id} is not known yet`);
    const plain = workspace.runSpec(spec, state.attempt, state.port, []);
    const command = spec.commands[spec.role === 'service' ? 0 : Math.max(0, state.attempt - 1)] ?? [];
    const words = commandWords(spec, command, plain.env, deps.staticServer);
    if ('reason' in words) throw new Error(words.reason.message);
    return { ...plain, argv: words.argv };
  };

  const beginWork = (): AbortSignal => {
    work = new AbortController();
    return AbortSignal.any([work.signal, detached.signal]);
  };

  const prepare = async (): Promise<void> => {
    const wanted = spec;
    if (wanted === null) return;
    const signal = beginWork();
    try {
      const driver = driverOf();
      const isInside = driver.hasOwnPorts === true && !sharesPorts(wanted);
      const port = wanted.listens ? await deps.ports.take(state.id, isInside ? null : wanted.port) : null;
      const { env } = workspace.runSpec(wanted, state.attempt, port, []);
      for (const command of wanted.commands) {
        const words = commandWords(wanted, command, env, deps.staticServer);
        if ('reason' in words) return send({ kind: 'not-prepared', final: true, reason: words.reason });
      }
      await workspace.prepare(wanted, driver, signal);
      send({ kind: 'prepared', port, host: port === null ? null : deps.host, notEnforced: workspace.notEnforced(wanted) });
    } catch (error) {
      const broken = isFailure(error, 'bundle_invalid') || isFailure(error, 'too_large');
      const isMissing = isFailure(error, 'not_found') && wanted.artifact.kind === 'image';
      const code: ReasonCode = broken ? 'bundle_unreadable' : isFailure(error, 'port_taken') ? 'port_taken' : 'driver_error';
      send({ kind: 'not-prepared', final: broken || isMissing, reason: thrownReason(state.id, error, code) });
    }
  };

  const launch = async (): Promise<void> => {
    try {
      await saveDurably();
    } catch (error) {
      return send({ kind: 'launch-unclear', reason: thrownReason(state.id, error, 'driver_error') });
    }
    const { attempt } = state;
    try {
      const driver = driverOf();
      await deps.sweepDone();
      const starting = deps.cores.launch(state.id, (cores) => driver.ensure({ ...runSpec(), cores }));
      const handle = await within(clock, LAUNCH_DEADLINE_MS, 'The start', starting).catch((error: unknown) => {
        void starting.then((late) => endIfGivenUp(driver, late, attempt)).catch(() => undefined);
        throw error;
      });
      const seen = await driver.inspect(handle);
      const startedAtMs = seen.state === 'running' ? seen.startedAtMs : clock.now();
      launchedHere = attempt;
      const pid = seen.state === 'running' ? seen.pid : null;
      send({ kind: 'launched', handle, pid, startedAtMs, notEnforced: driver.notEnforced(handle) });
    } catch (error) {
      const why = thrownReason(state.id, error, 'driver_error');
      if (isFailure(error, 'start_failed')) send({ kind: 'not-launched', reason: why, atMs: clock.now() });
      else send({ kind: 'launch-unclear', reason: why });
    }
  };

  /** A start that answered after its deadline, for an attempt that meanwhile nobody waits for. */
  const endIfGivenUp = async (driver: Driver, handle: DriverHandle, attempt: number): Promise<void> => {
    const wanted = state.attempt === attempt && (state.activity === 'launching' || state.relaunch || state.handle !== null);
    if (wanted || detached.signal.aborted) return;
    await driver.stop(handle, { signal: state.stop.signal, timeoutMs: REMAINS_TIMEOUT_MS });
    await driver.remove(handle);
  };

  const startWatching = async (): Promise<void> => {
    const { handle, attempt, activity } = state;
    if (handle === null || activity !== 'up') return;
    if (watch !== null && watch.attempt === attempt) return watch.inform(spec);
    watch = startWatch({ ...deps, log, driver: driverOf(), handle, fresh: launchedHere === attempt, send, runSpec, current: () => state });
    watch.inform(spec);
  };

  const stopWatching = async (): Promise<void> => {
    const ending = watch;
    watch = null;
    await ending?.stop();
  };

  const afterStart = async (): Promise<void> => {
    const { handle, attempt } = state;
    if (handle === null || spec === null) return;
    hooks = new AbortController();
    const signal = AbortSignal.any([hooks.signal, detached.signal]);
    const failure = await runHooks(driverOf(), handle, runSpec(), spec, spec.hooks.afterStart, signal);
    send({ kind: 'hooked', attempt, atMs: clock.now(), failure, required: spec.hooks.required });
  };

  const close = async (alive: boolean): Promise<void> => {
    const { handle } = state;
    hooks?.abort(new Error('it is being stopped'));
    await stopWatching();
    const gone: RunState = { state: 'unknown', message: 'no handle' };
    if (handle === null) return send({ kind: 'closed', end: endOf(gone) });
    const driver = driverOf();
    if (alive && spec !== null && spec.hooks.beforeStop.length > 0) {
      const failure = await runHooks(driver, handle, runSpec(), spec, spec.hooks.beforeStop, detached.signal, stopCapMs ?? undefined);
      if (failure !== null) log.warn({ reason: failure.message }, 'a beforeStop hook failed');
    }
    for (let tries = 0; !detached.signal.aborted; tries += 1) {
      try {
        const end = await driver.stop(handle, { signal: state.stop.signal, timeoutMs: stopTimeout(alive) });
        send({ kind: 'closed', end: endOf(end) });
        await saving;
        await driver.remove(handle).catch((error: unknown) => log.warn({ error: messageOf(error) }, 'the driver keeps a record'));
        return;
      } catch (error) {
        send({ kind: 'close-failed', reason: thrownReason(state.id, error, 'driver_error') });
        await clock.sleep(backoffMs(tries, RETRY, deps.random), detached.signal);
      }
    }
  };

  const stopTimeout = (alive: boolean): number => {
    const wanted = alive ? state.stop.timeoutMs : Math.min(state.stop.timeoutMs, REMAINS_TIMEOUT_MS);
    return Math.min(wanted, stopCapMs ?? wanted);
  };

  const endOf = (end: RunState): End =>
    end.state === 'exited'
      ? { seen: true, code: end.code, signal: end.signal, atMs: end.atMs, ranMs: null }
      : { seen: false, code: null, signal: null, atMs: clock.now(), ranMs: null };

  const makeResult = async (signal: AbortSignal): ReturnType<BuildResults['publish']> => {
    const folder = workspace.workFolder(state.id);
    const driver = driverOf();
    const dockerfile = spec?.dockerfile;
    if (spec === null || dockerfile === undefined) return deps.results.publish(folder, signal);
    const { app, resources } = spec;
    const order = { dockerfile, reference: builtImage(app.name, state.id), group: `${app.id}/build`, resources };
    const output = { logFolder: workspace.logFolder(state.id), logBytes: workspace.logBytes };
    return deps.results.publishImage(driver, folder, { ...order, ...output }, signal);
  };

  const pack = async (): Promise<void> => {
    const signal = beginWork();
    for (let tries = 0; !signal.aborted; tries += 1) {
      try {
        return send({ kind: 'packed', output: await makeResult(signal) });
      } catch (error) {
        if (isFailure(error, 'bundle_invalid') || isFailure(error, 'too_large') || isFailure(error, 'build_failed')) {
          const lines = isFailure(error, 'build_failed') ? await lastLines(driverOf(), workspace.logFolder(state.id), spec) : [];
          return send({ kind: 'not-packed', reason: reason(state.id, 'build_failed', error.message, error.hint ?? null, lines) });
        }
        if (signal.aborted) return;
        log.warn({ error: messageOf(error) }, 'the result of a build is not uploaded yet');
        await clock.sleep(backoffMs(tries, RETRY, deps.random), signal).catch(() => undefined);
      }
    }
  };

  return {
    state: () => state,
    spec: () => spec,
    running: () => {
      if (state.handle === null || state.activity !== 'up' || spec === null) return null;
      return { driver: driverOf(), handle: state.handle, run: runSpec() };
    },
    send,
    recover: async () => {
      if (state.activity === 'closing') return run({ kind: 'close', alive: false });
      if (state.activity !== 'up' || state.handle === null) return;
      const found = await driverOf().inspect(state.handle);
      if (found.state === 'running') return run({ kind: 'watch' });
      const lines = await lastLines(driverOf(), workspace.logFolder(state.id), spec);
      send({ kind: 'ended', attempt: state.attempt, end: endOf(found), reason: endReason(state, null, null, found, lines) });
    },
    hurry: async (timeoutMs) => {
      stopCapMs = timeoutMs;
      const { handle } = state;
      if (state.activity === 'closing' && handle !== null) await driverOf().stop(handle, { signal: state.stop.signal, timeoutMs });
    },
    detach: async () => {
      detached.abort(new Error('the agent stops'));
      cancelWait?.();
      await stopWatching();
      while (running.size > 0) await Promise.all(running);
      await saving;
    },
    settled: async () => {
      while (running.size > 0) await Promise.all(running);
      await saving;
    },
  };
}
