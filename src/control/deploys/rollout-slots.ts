// Who is who among the Instances of one Entrypoint: per slot of the Deployment that shall run one keeper, all others leave. Draining a
// Node, scaling down, updating and taking back are the same question with another answer.

import type { Deployment, InstanceSpec } from '../../model/documents.ts';
import type { EntrypointSpec } from '../../model/manifest-types.ts';
import { wantedInstances } from '../../model/effective.ts';
import type { Draft } from './rollout-draft.ts';
import { hasEnded, isServing } from './rollout-draft.ts';
import type { RolloutInput, RolloutInstance } from './rollout-input.ts';

const RETRY_MIN_MS = 5000;
const RETRY_MAX_MS = 300_000;

interface Slot {
  readonly index: number;
  readonly keeper: RolloutInstance | null;
  /** keeper serves at every Edge; or its program has ended as its restart policy allows. */
  readonly available: boolean;
  /** Ended and not to be started again (`restart` never or on-failure). */
  readonly over: boolean;
  /** A failed predecessor: do not try again before, in milliseconds from now; 0: at once. */
  readonly retryInMs: number;
}

export interface EntrypointState {
  readonly spec: EntrypointSpec;
  readonly wanted: number;
  readonly stopFirst: boolean;
  /** Never two at once, whatever the slot: it is a singleton, or an Instance that still lives was meant to be one. */
  readonly alone: boolean;
  readonly slots: readonly Slot[];
  /** Not ended and no keeper. */
  readonly leavers: readonly RolloutInstance[];
  readonly scope: Scope;
}

/** What a look is about, where two Deployments stand side by side. */
export interface Scope {
  readonly includes: (spec: InstanceSpec) => boolean;
  readonly wanted: (spec: EntrypointSpec) => number;
}

/** Instances that the Environment wants of an Entrypoint now; none while it is stopped or going away. */
export function wantedOf(input: RolloutInput, spec: EntrypointSpec): number {
  const { environment } = input;
  if (environment.stopped || environment.state === 'deleting' || input.appState === 'deleting') return 0;
  return wantedInstances(spec, null, environment.name, environment.overrides).instances;
}

/** Service Entrypoints of a Deployment, in order of their names. */
export function servicesOf(deployment: Deployment): readonly EntrypointSpec[] {
  return Object.values(deployment.entrypoints)
    .filter((spec) => spec.run === 'service')
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Service Instances that have not ended, of one Entrypoint or of all. */
export function liveServices(draft: Draft, entrypoint?: string): readonly RolloutInstance[] {
  return draft
    .instances()
    .filter(
      (instance) =>
        instance.spec.role === 'service' && (entrypoint === undefined || instance.spec.entrypoint === entrypoint) && !hasEnded(instance),
    );
}

/** The state of one Entrypoint as seen by the Deployment that shall run. */
export function entrypointState(draft: Draft, deployment: Deployment, spec: EntrypointSpec, scope: Scope): EntrypointState {
  const { input } = draft;
  const wanted = scope.wanted(spec);
  const live = liveServices(draft, spec.name).filter((instance) => scope.includes(instance.spec));
  const own = live.filter((instance) => instance.spec.deploymentId === deployment.id);
  const release = input.deployments.get(deployment.id)?.release;
  const alone = spec.singleton || live.some((instance) => isSingleton(input, instance));
  const stopFirst = alone || (release !== undefined && input.stopFirst(spec, release));
  const bySlot = Map.groupBy(own, (instance) => instance.spec.slot);
  const ended = endedBySlot(draft, deployment, spec);
  const slots = Array.from({ length: wanted }, (_unused, index) =>
    slotState(draft, deployment, spec, { own: bySlot.get(index) ?? [], ended: ended.get(index) ?? [] }, index, stopFirst),
  );
  const keepers = new Set(slots.flatMap((slot) => (slot.keeper === null ? [] : [slot.keeper.spec.id])));
  return { spec, wanted, stopFirst, alone, slots, leavers: live.filter((instance) => !keepers.has(instance.spec.id)), scope };
}

export function isComplete(state: EntrypointState): boolean {
  return state.slots.every((slot) => slot.available);
}

/** A slot waits for an old Instance to make room: no fault of the new one. */
export function isWaitingForRoom(state: EntrypointState): boolean {
  return (
    state.slots.some((slot) => slot.keeper === null && !slot.over) &&
    state.leavers.some(({ spec }) => spec.draining || spec.desired === 'stop')
  );
}

function isSingleton(input: RolloutInput, instance: RolloutInstance): boolean {
  return input.deployments.get(instance.spec.deploymentId ?? '')?.deployment.entrypoints[instance.spec.entrypoint]?.singleton === true;
}

function slotState(
  draft: Draft,
  deployment: Deployment,
  spec: EntrypointSpec,
  its: { readonly own: readonly RolloutInstance[]; readonly ended: readonly RolloutInstance[] },
  index: number,
  stopFirst: boolean,
): Slot {
  const { input } = draft;
  const there = its.own.filter(({ spec: other }) => other.desired === 'run' && !other.draining);
  const settled = there.filter((instance) => !mustMove(draft, deployment, spec, instance, stopFirst));
  const keeper = settled.toSorted((a, b) => Number(isServing(b)) - Number(isServing(a)) || (a.spec.id < b.spec.id ? -1 : 1))[0] ?? null;
  const available = keeper !== null && isServing(keeper) && input.traffic.inForce(keeper.spec.id);
  const ended = keeper === null && there.length === 0 ? lastEnds(draft, spec, its.ended) : NOTHING_ENDED;
  return { index, keeper, available: available || ended.succeeded, over: ended.over, retryInMs: ended.retryInMs };
}

/** Its Node is being emptied. One with a volume stays with it; one that cannot have a twin stays where there is no other place. */
function mustMove(draft: Draft, deployment: Deployment, spec: EntrypointSpec, instance: RolloutInstance, stopFirst: boolean): boolean {
  if (!draft.input.drainingNodes.has(instance.spec.nodeId) || spec.volumes.length > 0) return false;
  if (!stopFirst) return true;
  const plan = draft.input.place([{ key: 'move', deployment, entrypoint: spec, stickyNodeId: null }]);
  const [unplaced] = plan.unplaced;
  if (unplaced === undefined) return true;
  draft.noteUnplaced(spec.name, instance.spec.slot, unplaced);
  return false;
}

interface Ends {
  readonly over: boolean;
  readonly succeeded: boolean;
  readonly retryInMs: number;
}

const NOTHING_ENDED: Ends = { over: false, succeeded: false, retryInMs: 0 };

/** What has ended of an Entrypoint. */
function endedBySlot(draft: Draft, deployment: Deployment, spec: EntrypointSpec): ReadonlyMap<number, readonly RolloutInstance[]> {
  const ended = draft
    .instances()
    .filter(
      (instance) =>
        instance.spec.role === 'service' &&
        instance.spec.deploymentId === deployment.id &&
        instance.spec.entrypoint === spec.name &&
        hasEnded(instance),
    );
  return Map.groupBy(ended, (instance) => instance.spec.slot);
}

/** What the newest ended Instances of an empty slot say about the next one. */
function lastEnds(draft: Draft, spec: EntrypointSpec, its: readonly RolloutInstance[]): Ends {
  const ended = its.toSorted((a, b) => b.spec.createdAtMs - a.spec.createdAtMs || (a.spec.id < b.spec.id ? 1 : -1));
  const newest = ended[0];
  // One that was asked to stop, or whose Node died, says nothing about its program.
  if (newest === undefined || newest.spec.desired === 'stop') return NOTHING_ENDED;
  const phase = newest.status?.phase;
  if (spec.restart !== 'always' && (phase === 'succeeded' || phase === 'failed' || phase === 'unknown')) {
    return { over: true, succeeded: phase === 'succeeded', retryInMs: 0 };
  }
  let failures = 0;
  for (const instance of ended) {
    if (instance.status?.phase !== 'failed' || instance.spec.desired === 'stop') break;
    failures += 1;
  }
  if (failures === 0) return NOTHING_ENDED;
  const delayMs = Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** (failures - 1));
  const sinceMs = draft.input.elapsedMs(newest.status?.updatedAtMs ?? draft.input.nowMs);
  return { over: false, succeeded: false, retryInMs: Math.max(0, delayMs - sinceMs) };
}
