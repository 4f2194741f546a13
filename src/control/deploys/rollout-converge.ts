// Brings the Instances of an Environment towards one Deployment: empty slots are filled, all others leave, and never more leave than the
// Entrypoint can spare. Start-first and stop-first are the same rules with other bounds.

import type { Deployment, InstanceSpec } from '../../model/documents.ts';
import type { EntrypointSpec } from '../../model/manifest-types.ts';
import type { Place } from '../scheduler/snapshot.ts';
import { placedAt } from './placed.ts';
import type { Draft } from './rollout-draft.ts';
import { hasEnded, isServing } from './rollout-draft.ts';
import type { RolloutInstance, SlotRequest } from './rollout-input.ts';
import { statesOf } from './rollout-sides.ts';
import type { Side } from './rollout-sides.ts';
import { isComplete, liveServices } from './rollout-slots.ts';
import type { EntrypointState } from './rollout-slots.ts';

/** How often to ask the Edges again while something waits for them, milliseconds. */
export const TRAFFIC_POLL_MS = 50;

/** Each side by itself, as if the others were not there; only the Nodes are shared, and the first side chooses first. */
export function converge(draft: Draft, sides: readonly Side[]): void {
  const looks = sides.map((side) => ({ side, states: statesOf(draft, side) }));
  for (const { side, states } of looks) dismiss(draft, side, states);
  const homeless = fillSlots(draft, looks);
  for (const { side, states } of looks) {
    if (side.target === null || side.target.id !== draft.environment().stableDeploymentId) continue;
    for (const state of states) if (homeless.has(`${side.target.id}/${state.spec.name}`)) makeRoom(draft, state);
  }
}

function dismiss(draft: Draft, side: Side, states: readonly EntrypointState[]): void {
  const complete = states.every(isComplete);
  for (const state of states) dismissLeavers(draft, state);
  const known = new Set(states.map((state) => state.spec.name));
  for (const instance of liveServices(draft)) {
    if (known.has(instance.spec.entrypoint) || !side.scope.includes(instance.spec)) continue;
    // Of an Entrypoint that is no more: what serves goes when all that comes is there.
    const spare = complete || instance.spec.deploymentId !== draft.environment().stableDeploymentId;
    if (instance.spec.draining) goOn(draft, instance);
    else if (spare) leave(draft, instance);
  }
}

/** What does not belong to the serving Deployment holds the room that it needs: one of them goes, although it serves. */
function makeRoom(draft: Draft, state: EntrypointState): void {
  const foreign = liveServices(draft, state.spec.name).filter(({ spec }) => spec.deploymentId !== draft.environment().stableDeploymentId);
  if (foreign.some(({ spec }) => spec.draining || spec.desired === 'stop')) return;
  const [first] = foreign.toSorted(dismissOrder(state, null));
  if (first !== undefined) leave(draft, first);
}

/**
 * A version without a share serves nobody, however healthy it is: nobody may leave because of it. A canary that is being tried stands
 * apart and counts for itself.
 */
export function idleDeployment(draft: Draft): string | null {
  const { split, candidateDeploymentId } = draft.environment();
  if (split === undefined || split === null || split.percent > 0) return null;
  const tried = split.deploymentId === candidateDeploymentId && draft.deployment(candidateDeploymentId)?.status.phase === 'canary';
  return tried ? null : split.deploymentId;
}

function dismissLeavers(draft: Draft, state: EntrypointState): void {
  const { rollout } = state.spec;
  const stableId = draft.environment().stableDeploymentId;
  const least = Math.max(0, state.wanted - Math.max(rollout.unavailable, state.stopFirst ? 1 : 0));
  const idle = idleDeployment(draft);
  const isAvailable = (instance: RolloutInstance): boolean =>
    isServing(instance) && instance.spec.deploymentId !== idle && draft.input.traffic.inForce(instance.spec.id);
  const staying = state.leavers.filter(({ spec }) => spec.desired === 'run' && !spec.draining);
  const ready = state.slots.filter((slot) => slot.available).length;
  const readyIdle = state.slots.filter(
    ({ available: serves, keeper }) => serves && keeper !== null && keeper.spec.deploymentId === idle,
  ).length;
  let available = ready - readyIdle + staying.filter(isAvailable).length;
  let kept = ready + staying.length;
  for (const instance of state.leavers) if (instance.spec.draining) goOn(draft, instance);
  for (const instance of staying.toSorted(dismissOrder(state, stableId))) {
    // What is neither serving nor of the Deployment that serves is of no use to anybody.
    const foreign = instance.spec.deploymentId !== stableId;
    const surplus = foreign || instance.spec.slot >= state.wanted;
    if (isAvailable(instance)) {
      if (available - 1 < least) continue;
      available -= 1;
    } else if (isServing(instance) ? !foreign && available < least : !surplus && kept - 1 < least) {
      if (isServing(instance)) draft.wakeIn(TRAFFIC_POLL_MS);
      continue;
    }
    kept -= 1;
    leave(draft, instance);
  }
  for (const { keeper, available: inForce } of state.slots)
    if (keeper !== null && isServing(keeper) && !inForce) draft.wakeIn(TRAFFIC_POLL_MS);
}

/** Who goes first: what never served, what has no slot any more (highest first), then from the lowest slot on. */
function dismissOrder(state: EntrypointState, stableId: string | null): (a: RolloutInstance, b: RolloutInstance) => number {
  const over = (instance: RolloutInstance): number => Math.max(0, instance.spec.slot - state.wanted + 1);
  return (a, b) =>
    Number(a.spec.deploymentId === stableId) - Number(b.spec.deploymentId === stableId) ||
    Number(isServing(a)) - Number(isServing(b)) ||
    over(b) - over(a) ||
    a.spec.slot - b.spec.slot ||
    (a.spec.id < b.spec.id ? -1 : 1);
}

function specOf(draft: Draft, instance: RolloutInstance): EntrypointSpec | undefined {
  return draft.deployment(instance.spec.deploymentId)?.deployment.entrypoints[instance.spec.entrypoint];
}

/** Out of the table first where it may have requests, otherwise stopped at once. */
function leave(draft: Draft, instance: RolloutInstance): void {
  const { status } = instance;
  if (instance.spec.desired === 'stop') return;
  const mayHaveRequests = specOf(draft, instance)?.listens === true && status !== null && (status.healthy || status.phase === 'unhealthy');
  if (!mayHaveRequests) draft.change(instance, { desired: 'stop' });
  else if (draft.change(instance, { draining: true, drainingSinceMs: draft.input.nowMs })) draft.wakeIn(TRAFFIC_POLL_MS);
}

/** A draining one stops when no Edge has a request for it any more, or its time is over. */
function goOn(draft: Draft, instance: RolloutInstance): void {
  const { spec } = instance;
  if (spec.desired === 'stop') return;
  const drainMs = specOf(draft, instance)?.rollout.drainMs ?? 0;
  const restMs = drainMs - draft.input.elapsedMs(spec.drainingSinceMs ?? draft.input.nowMs);
  // What does not run has no requests, whatever an Edge still says.
  const up = instance.status?.phase === 'running' || instance.status?.phase === 'unhealthy';
  if (restMs <= 0 || !up || draft.input.traffic.drained(spec.id)) draft.change(instance, { desired: 'stop' });
  else draft.wakeIn(Math.min(restMs, TRAFFIC_POLL_MS));
}

/** Returns the Entrypoints that have a slot without a Node: `<deployment>/<entrypoint>`. */
function fillSlots(
  draft: Draft,
  looks: readonly { readonly side: Side; readonly states: readonly EntrypointState[] }[],
): ReadonlySet<string> {
  const homeless = new Set<string>();
  const requests: SlotRequest[] = [];
  let cut = false;
  const slots = new Map<string, { readonly target: Deployment; readonly spec: EntrypointSpec; readonly slot: number }>();
  for (const { side, states } of looks) {
    const { target } = side;
    if (target === null) continue;
    for (const state of states) {
      // By these the whole is looked at to say where its parts go.
      const isWhole = state.spec.placement.strategy === 'fill' || state.spec.placement.strategy === 'each';
      const free = freeSlots(draft, state);
      const now = isWhole ? free : free.slice(0, draft.createsLeft());
      cut ||= now.length < free.length;
      for (const slot of now) {
        const key = `${target.id}/${state.spec.name}/${slot}`;
        slots.set(key, { target, spec: state.spec, slot });
        requests.push({ key, deployment: target, entrypoint: state.spec, stickyNodeId: volumeNode(draft, state.spec, slot) });
      }
    }
  }
  if (requests.length === 0) {
    if (cut) draft.wakeIn(0);
    return homeless;
  }
  const plan = draft.input.place(requests);
  if (cut && plan.unplaced.length === 0) draft.wakeIn(0);
  for (const unplaced of plan.unplaced) {
    const slot = slots.get(unplaced.key);
    if (slot === undefined) continue;
    homeless.add(`${slot.target.id}/${slot.spec.name}`);
    draft.noteUnplaced(slot.spec.name, slot.slot, unplaced);
  }
  for (const [key, place] of plan.placed) {
    const slot = slots.get(key);
    if (slot !== undefined && !draft.create(newInstance(draft, slot.target, slot.spec.name, 'service', slot.slot, place))) break;
  }
  return homeless;
}

/** Slots that may get an Instance now, lowest first. */
function freeSlots(draft: Draft, state: EntrypointState): readonly number[] {
  const { rollout, name } = state.spec;
  const live = liveServices(draft, name).filter(({ spec }) => state.scope.includes(spec));
  const staying = live.filter(({ spec }) => spec.desired === 'run' && !spec.draining).length;
  const surge = Math.max(rollout.surge, rollout.unavailable === 0 ? 1 : 0);
  let room = state.stopFirst ? state.wanted : state.wanted + surge - staying;
  const free: number[] = [];
  for (const slot of state.slots) {
    if (slot.keeper !== null || slot.over || room <= 0) continue;
    if (state.stopFirst && live.some(({ spec }) => state.alone || spec.slot === slot.index)) continue;
    if (slot.retryInMs > 0) {
      draft.wakeIn(slot.retryInMs);
      continue;
    }
    free.push(slot.index);
    room -= 1;
  }
  return free;
}

/** The Node that holds the slot's volume: where its newest Instance was. null: no volume, or none yet. */
function volumeNode(draft: Draft, spec: EntrypointSpec, slot: number): string | null {
  if (spec.volumes.length === 0) return null;
  let newest: InstanceSpec | null = null;
  for (const instance of draft.instances()) {
    const other = instance.spec;
    if (other.role !== 'service' || other.entrypoint !== spec.name || other.slot !== slot) continue;
    if (newest !== null && newest.createdAtMs > other.createdAtMs) continue;
    const had = specOf(draft, instance);
    if (had === undefined || had.volumes.length > 0) newest = other;
  }
  return newest?.nodeId ?? null;
}

/** A new Instance on a Node. */
export function newInstance(
  draft: Draft,
  deployment: Deployment,
  entrypoint: string,
  role: 'service' | 'before-deploy',
  slot: number,
  place: Place,
): InstanceSpec {
  return {
    id: draft.input.newId(),
    appId: deployment.appId,
    environmentId: deployment.environmentId,
    deploymentId: deployment.id,
    releaseId: deployment.releaseId,
    entrypoint,
    role,
    slot,
    ...placedAt(place),
    generation: 1,
    desired: 'run',
    draining: false,
    drainingSinceMs: null,
    commands: null,
    tickMs: null,
    createdAtMs: draft.input.nowMs,
  };
}

/** An Instance whose Node died must not go on when the Node comes back. */
export function giveUpLost(draft: Draft): void {
  for (const instance of draft.instances()) {
    if (instance.status?.phase === 'lost' && instance.spec.desired === 'run') draft.change(instance, { desired: 'stop' });
  }
}

/** Everything stops at once: of the whole Environment, or only what is no service. */
export function stopInstances(draft: Draft, which: (spec: InstanceSpec) => boolean): void {
  for (const instance of draft.instances()) {
    if (!hasEnded(instance) && instance.spec.desired === 'run' && which(instance.spec)) draft.change(instance, { desired: 'stop' });
  }
}
