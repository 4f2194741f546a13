// What is requested on each Node, counted from its Instances, and kept until one of them changes: planners look at all Nodes again and
// again, and a large cluster is mostly as it was a moment ago. Nothing is stored (invariant 2): what is kept can be counted anew at any time.

import type { Build } from '../../model/manifest-types.ts';
import { releaseRecords } from '../apps/records.ts';
import { schedule } from '../scheduler/schedule.ts';
import type { NodeRoom, Plan } from '../scheduler/snapshot.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords } from '../cluster/records.ts';
import type { View } from '../../store/view.ts';
import { requestOf, roomOf } from './placement.ts';
import { instanceSpecRecords } from './records.ts';
import type { SlotRequest } from './rollout-input.ts';

interface Kept {
  readonly rooms: Map<string, NodeRoom>;
  /** Of the Instances that were counted. */
  readonly nodeOf: Map<string, string>;
}

const keptOf = new WeakMap<View, Kept>();

function keep(view: View): Kept {
  const rooms = new Map<string, NodeRoom>();
  const nodeOf = new Map<string, string>();
  // It ends with the view.
  view.onChange((changed) => {
    for (const id of changed.get(instanceSpecRecords.name) ?? []) {
      const before = nodeOf.get(id);
      if (before !== undefined) rooms.delete(before);
      const now = view.get(instanceSpecRecords, id)?.document.nodeId;
      if (now === undefined) nodeOf.delete(id);
      else {
        nodeOf.set(id, now);
        rooms.delete(now);
      }
    }
    for (const id of changed.get(instanceStatusRecords.name) ?? []) {
      const node = nodeOf.get(id);
      if (node !== undefined) rooms.delete(node);
    }
    for (const records of [nodeSpecRecords, nodeStatusRecords]) for (const id of changed.get(records.name) ?? []) rooms.delete(id);
  });
  for (const { document } of view.list(instanceSpecRecords)) nodeOf.set(document.id, document.nodeId);
  return { rooms, nodeOf };
}

/** The Nodes of a Runtime with what is requested on them now; as if the services of one Environment were not there, where that is named. */
export function roomsOf(view: View, runtimeId: string, exceptEnvironmentId: string | null = null): readonly NodeRoom[] {
  let kept = keptOf.get(view);
  if (kept === undefined) {
    kept = keep(view);
    keptOf.set(view, kept);
  }
  const { rooms } = kept;
  const excepted = new Set(
    exceptEnvironmentId === null
      ? []
      : view.by(instanceSpecRecords, 'environment', exceptEnvironmentId).map(({ document }) => document.nodeId),
  );
  return view.by(nodeSpecRecords, 'runtime', runtimeId).map(({ document }) => {
    const status = view.get(nodeStatusRecords, document.id)?.document ?? null;
    if (excepted.has(document.id)) return roomOf(view, document, status, exceptEnvironmentId);
    const known = rooms.get(document.id);
    if (known !== undefined) return known;
    const room = roomOf(view, document, status);
    rooms.set(document.id, room);
    return room;
  });
}

/** Placement on one snapshot of a Runtime, which is taken at the first use. */
export function createPlacer(view: View, runtimeId: string): (requests: readonly SlotRequest[]) => Plan {
  let rooms: readonly NodeRoom[] | null = null;
  return (requests) => {
    rooms ??= roomsOf(view, runtimeId);
    return schedule(
      rooms,
      requests.map(({ key, deployment, entrypoint, stickyNodeId }) =>
        requestOf(entrypoint, buildOf(view, deployment.releaseId), {
          key,
          deploymentId: deployment.id,
          environmentId: deployment.environmentId,
          stickyNodeId,
        }),
      ),
    );
  };
}

function buildOf(view: View, releaseId: string): Build {
  return view.get(releaseRecords, releaseId)?.document.manifest.build ?? { kind: 'none', base: null };
}
