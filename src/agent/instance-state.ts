// What an agent knows of one Instance, as plain data: what is kept on disk, what the phases mean, and the effects that a transition may
// ask for. Holds no env and no secret.

import type { DesiredInstance } from '../api/agent.ts';
import type { DriverHandle } from '../driver/contract.ts';
import type { InstancePhase, InstanceStatus, Reason } from '../model/documents.ts';
import type { InstanceClaims } from '../tunnel/instance-token.ts';

const CRASH_LOOP_ENDS = 3;

/**
 * idle: nothing of it exists. preparing: its folder is being made. launching: the driver may or may not have started the attempt.
 * up: a program runs. closing: the attempt is being ended, or its remains are being swept. waiting: for a back-off to pass.
 * packing: a build's result is being uploaded. done: never again.
 */
export type Activity = 'idle' | 'preparing' | 'launching' | 'up' | 'closing' | 'waiting' | 'packing' | 'done';

export type FinalPhase = 'stopped' | 'succeeded' | 'failed' | 'unknown';

/** How a program ended; `seen` false where nobody saw it. */
export interface End {
  readonly seen: boolean;
  readonly code: number | null;
  readonly signal: string | null;
  readonly atMs: number;
  /** Monotonic run time of the attempt; null where it began under an earlier agent. */
  readonly ranMs: number | null;
}

/** Why an attempt is being closed: somebody asked, it ended by itself, or the agent ends it for a reason. */
export type Closing =
  | { readonly why: 'asked' }
  | { readonly why: 'ended'; readonly end: End; readonly reason: Reason | null }
  | { readonly why: 'broken'; readonly final: boolean; readonly reason: Reason };

/** Everything that is kept on disk about an Instance. Holds no env and no secret. */
export interface InstanceState {
  readonly id: string;
  readonly generation: number;
  readonly desired: 'run' | 'stop';
  readonly driver: string;
  readonly service: boolean;
  /** Number of commands of a one-off. */
  readonly commands: number;
  readonly restart: DesiredInstance['restart'];
  readonly stop: DesiredInstance['stop'];
  readonly packResult: boolean;
  /** Cores of its own; absent: it shares. */
  readonly cores?: readonly number[];
  /** What its token says; absent: it has none. */
  readonly claims?: InstanceClaims;
  readonly hasAfterStart: boolean;
  /** Without contact to control for this long it must stop; null: never. */
  readonly cutOffAfterMs: number | null;
  /** False until control has said, since the agent started, what it shall be: without its spec nothing can be started. */
  readonly informed: boolean;
  readonly cutOff: boolean;
  readonly shutdown: boolean;
  readonly activity: Activity;
  /** Number of the newest attempt, 0 before the first. Part of the driver's idempotency key. */
  readonly attempt: number;
  readonly handle: DriverHandle | null;
  readonly port: number | null;
  readonly host: string | null;
  readonly pid: number | null;
  readonly startedAtMs: number | null;
  /** starting: not yet healthy in this attempt. hooking: afterStart runs. ready: was healthy. */
  readonly readiness: 'starting' | 'hooking' | 'ready';
  readonly healthy: boolean;
  readonly healthySinceMs: number | null;
  readonly closing: Closing | null;
  /** After the wait in progress, launch the same attempt again instead of preparing a new one: it may have been started. */
  readonly relaunch: boolean;
  /** Tries in a row that failed before a program ran; the back-off of retries. */
  readonly failedTries: number;
  readonly restarts: number;
  readonly quickEnds: number;
  readonly exit: InstanceStatus['exit'];
  readonly reason: Reason | null;
  readonly outcome: FinalPhase | null;
  readonly output: InstanceStatus['output'];
  readonly notEnforced: readonly string[];
}

export type Effect =
  | { readonly kind: 'prepare' }
  /** Break off preparing or packing. */
  | { readonly kind: 'cancel-work' }
  /** State must be safe on disk before the driver is called. */
  | { readonly kind: 'launch' }
  /** Watch for the end, check health, measure. */
  | { readonly kind: 'watch' }
  | { readonly kind: 'after-start' }
  /** End watching and bring the attempt to its end; `alive`: it was running as far as is known, so stop hooks make sense. */
  | { readonly kind: 'close'; readonly alive: boolean }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'cancel-wait' }
  | { readonly kind: 'pack' }
  /** End whatever runs under keys that no Instance has: an attempt that may have been started is among them. */
  | { readonly kind: 'sweep' }
  /** Delete what an ended Instance no longer needs: work folder, secret files. */
  | { readonly kind: 'clean' };

export interface Step {
  readonly state: InstanceState;
  readonly effects: readonly Effect[];
}

type Facts = Pick<
  InstanceState,
  | 'generation'
  | 'desired'
  | 'driver'
  | 'service'
  | 'commands'
  | 'restart'
  | 'stop'
  | 'packResult'
  | 'cores'
  | 'claims'
  | 'hasAfterStart'
  | 'cutOffAfterMs'
>;

/** What its token says. null: a build is no caller, and what belongs nowhere is nobody. */
export function claimsOf({ id, role, app, environment, entrypoint }: DesiredInstance): InstanceClaims | null {
  if (role === 'build' || environment === null) return null;
  return { instanceId: id, app: app.name, environment: environment.name, environmentId: environment.id, entrypoint };
}

/** What is needed of a spec; kept on disk, so that an Instance can be ended, and its token replaced, before control is back. */
export const factsOf = (spec: DesiredInstance): Facts => ({
  generation: spec.generation,
  desired: spec.desired,
  driver: spec.driver,
  service: spec.role === 'service',
  commands: spec.commands.length,
  restart: spec.restart,
  stop: spec.stop,
  packResult: spec.packResult,
  ...(spec.cores === undefined ? {} : { cores: spec.cores.map(({ core }) => core) }),
  claims: claimsOf(spec) ?? undefined,
  hasAfterStart: spec.hooks.afterStart.length > 0,
  cutOffAfterMs: spec.singleton ? spec.disconnect.stopAfterMs : null,
});

/** The state of an Instance that nobody here has heard of. */
export function newInstanceState(spec: DesiredInstance): InstanceState {
  return {
    id: spec.id,
    ...factsOf(spec),
    informed: false,
    cutOff: false,
    shutdown: false,
    activity: 'idle',
    attempt: 0,
    handle: null,
    port: null,
    host: null,
    pid: null,
    startedAtMs: null,
    readiness: 'starting',
    healthy: false,
    healthySinceMs: null,
    closing: null,
    relaunch: false,
    failedTries: 0,
    restarts: 0,
    quickEnds: 0,
    exit: null,
    reason: null,
    outcome: null,
    output: null,
    notEnforced: [],
  };
}

/** What an agent makes of the state that an earlier one left: nothing that ran inside that agent goes on. */
export function restoredState(state: InstanceState): InstanceState {
  const base: InstanceState = { ...state, informed: false, cutOff: false, shutdown: false };
  switch (state.activity) {
    case 'preparing':
      return { ...base, activity: 'idle' };
    case 'waiting':
      return { ...base, activity: state.relaunch ? 'launching' : 'idle', relaunch: false };
    case 'up':
      // afterStart may have run half: it runs again with the next healthy check.
      return state.readiness === 'hooking' ? { ...base, readiness: 'starting' } : base;
    case 'idle':
    case 'launching':
    case 'closing':
    case 'packing':
    case 'done':
      return base;
  }
}

/** The phase that everybody else sees. */
export function phaseOf(state: InstanceState): InstancePhase {
  switch (state.activity) {
    case 'idle':
      return 'pending';
    case 'preparing':
      return 'preparing';
    case 'launching':
      return 'starting';
    case 'up':
      if (!state.service) return 'running';
      if (state.readiness !== 'ready') return 'starting';
      return state.healthy ? 'running' : 'unhealthy';
    case 'closing':
      if (state.closing?.why !== 'ended') return 'stopping';
      return state.service ? 'backoff' : 'running';
    case 'waiting':
      return state.attempt === 0 || state.relaunch ? 'preparing' : 'backoff';
    case 'packing':
      return 'running';
    case 'done':
      return state.outcome ?? 'failed';
  }
}

export const isCrashLoop = (state: InstanceState): boolean => state.service && state.quickEnds >= CRASH_LOOP_ENDS;
