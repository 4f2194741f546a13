// What is requested on each Node, counted from its Instances, and kept until one of them changes: planners look at all Nodes again and
// again, and a large cluster is mostly as it was a moment ago. Nothing is stored (invariant 2): what is kept can be counted anew at any time.
// What is about to be placed is counted before it is committed, so that plans that are made meanwhile reckon with it.

import { isDeepStrictEqual } from 'node:util';
import type { Environment, InstanceSpec, NodeSpec, NodeStatus } from '../../model/documents.ts';
import type { Build } from '../../model/manifest-types.ts';
import { releaseRecords } from '../apps/records.ts';
import { powerRefusedIn } from '../auth/grants.ts';
import { schedule } from '../scheduler/schedule.ts';
import type { NodeRoom, Plan, Unplaced } from '../scheduler/snapshot.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords } from '../cluster/records.ts';
import type { View } from '../../store/view.ts';
import { countIn, hasEnded, requestOf, roomOf } from './placement.ts';
import type { CountedRoom } from './placement.ts';
import { instanceSpecRecords } from './records.ts';
import type { SlotRequest } from './rollout-input.ts';

interface Kept {
  readonly rooms: Map<string, CountedRoom>;
  /** The Instances of the view. */
  readonly known: Map<string, { readonly nodeId: string; readonly ended: boolean }>;
  /** What the rooms were counted by. */
  readonly statuses: Map<string, NodeStatus>;
  /** By their Node: placed by what is not committed yet, or not known to be. */
  readonly reserved: Map<string, Map<string, InstanceSpec>>;
}

const keptOf = new WeakMap<View, Kept>();

function keep(view: View): Kept {
  const known = keptOf.get(view);
  if (known !== undefined) return known;
  const kept: Kept = { rooms: new Map(), known: new Map(), statuses: new Map(), reserved: new Map() };
  keptOf.set(view, kept);
  const look = (nodeId: string, id: string) => ({ nodeId, ended: hasEnded(view, id) });
  // It ends with the view.
  view.onChange((changed) => {
    for (const id of changed.get(instanceSpecRecords.name) ?? []) noteSpec(view, kept, id);
    for (const id of changed.get(instanceStatusRecords.name) ?? []) {
      const before = kept.known.get(id);
      if (before === undefined || before.ended === hasEnded(view, id)) continue;
      kept.known.set(id, look(before.nodeId, id));
      kept.rooms.delete(before.nodeId);
    }
    for (const id of changed.get(nodeSpecRecords.name) ?? []) kept.rooms.delete(id);
    for (const id of changed.get(nodeStatusRecords.name) ?? []) {
      const now = view.get(nodeStatusRecords, id)?.document;
      const before = kept.statuses.get(id);
      // Most often it was only heard of again.
      if (now === undefined || before === undefined || !isDeepStrictEqual({ ...now, lastSeenMs: 0 }, { ...before, lastSeenMs: 0 }))
        kept.rooms.delete(id);
    }
  });
  for (const { document } of view.list(instanceSpecRecords)) kept.known.set(document.id, look(document.nodeId, document.id));
  return kept;
}

function noteSpec(view: View, { rooms, known, reserved }: Kept, id: string): void {
  const before = known.get(id);
  const now = view.get(instanceSpecRecords, id)?.document;
  if (now === undefined) known.delete(id);
  else known.set(id, { nodeId: now.nodeId, ended: hasEnded(view, id) });
  if (before === undefined && now !== undefined) {
    const isCounted = reserved.get(now.nodeId)?.has(id) === true;
    const room = rooms.get(now.nodeId);
    if (known.get(id)?.ended === true) rooms.delete(now.nodeId);
    else if (room !== undefined && !isCounted) countIn(view, room, now);
    return;
  }
  if (before !== undefined) rooms.delete(before.nodeId);
  if (now !== undefined) rooms.delete(now.nodeId);
}

/**
 * The Nodes of a Runtime with what is requested on them now; as if the services of one Environment were not there, where that is named.
 * They grow as Instances come: a plan is to be made at once.
 */
export function roomsOf(view: View, runtimeId: string, exceptEnvironmentId: string | null = null): readonly NodeRoom[] {
  const kept = keep(view);
  const excepted = new Set<string>();
  if (exceptEnvironmentId !== null) {
    for (const { document } of view.by(instanceSpecRecords, 'environment', exceptEnvironmentId)) excepted.add(document.nodeId);
    for (const [nodeId, its] of kept.reserved)
      for (const { environmentId } of its.values()) if (environmentId === exceptEnvironmentId) excepted.add(nodeId);
  }
  const count = (node: NodeSpec, status: NodeStatus | null, except: string | null): CountedRoom => {
    const room = roomOf(view, node, status, except);
    for (const spec of kept.reserved.get(node.id)?.values() ?? []) {
      if (view.get(instanceSpecRecords, spec.id) === undefined) countIn(view, room, spec, except);
    }
    return room;
  };
  return view.by(nodeSpecRecords, 'runtime', runtimeId).map(({ document }) => {
    const status = view.get(nodeStatusRecords, document.id)?.document ?? null;
    if (excepted.has(document.id)) return count(document, status, exceptEnvironmentId);
    const before = kept.rooms.get(document.id);
    if (before !== undefined) return before;
    const room = count(document, status, null);
    kept.rooms.set(document.id, room);
    if (status !== null) kept.statuses.set(document.id, status);
    return room;
  });
}

/** Whoever plans from now on counts these as if they were there, until the returned function is called. */
export function reserve(view: View, specs: readonly InstanceSpec[]): () => void {
  const { rooms, reserved } = keep(view);
  for (const spec of specs) {
    const its = reserved.get(spec.nodeId) ?? new Map<string, InstanceSpec>();
    reserved.set(spec.nodeId, its.set(spec.id, spec));
    const room = rooms.get(spec.nodeId);
    if (room !== undefined) countIn(view, room, spec);
  }
  return () => {
    for (const { id, nodeId } of specs) {
      const its = reserved.get(nodeId);
      its?.delete(id);
      if (its?.size === 0) reserved.delete(nodeId);
      if (view.get(instanceSpecRecords, id) === undefined) rooms.delete(nodeId);
    }
  };
}

/** Placement for an Environment on one snapshot of its Runtime, which is taken at the first use. What was not granted has no place. */
export function createPlacer(view: View, environment: Environment): (requests: readonly SlotRequest[]) => Plan {
  let rooms: readonly NodeRoom[] | null = null;
  return (requests) => {
    rooms ??= roomsOf(view, environment.runtimeId);
    const refusals = requests.flatMap(({ key, entrypoint }): readonly Unplaced[] => {
      const refused = powerRefusedIn(view, environment, entrypoint);
      return refused === undefined ? [] : [{ key, code: 'not_allowed', ...refused }];
    });
    const refused = new Set(refusals.map(({ key }) => key));
    const allowed = requests.filter(({ key }) => !refused.has(key));
    const { placed, unplaced } = schedule(
      rooms,
      allowed.map(({ key, deployment, entrypoint, stickyNodeId }) =>
        requestOf(entrypoint, buildOf(view, deployment.releaseId), {
          key,
          deploymentId: deployment.id,
          environmentId: deployment.environmentId,
          stickyNodeId,
        }),
      ),
    );
    return { placed, unplaced: [...refusals, ...unplaced] };
  };
}

function buildOf(view: View, releaseId: string): Build {
  return view.get(releaseRecords, releaseId)?.document.manifest.build ?? { kind: 'none', base: null };
}
