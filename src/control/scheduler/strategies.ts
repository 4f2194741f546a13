// How one Node is chosen among those that can take a request. A strategy never sees a Node without room, so it cannot overfill one.

import type { EntrypointSpec } from '../../model/manifest-types.ts';
import type { NodeRoom, PlacementRequest } from './snapshot.ts';

/** The best of the Nodes, which is never an empty list. Must not depend on their order. */
export type Strategy = (nodes: readonly NodeRoom[], request: PlacementRequest) => NodeRoom | undefined;

/** Share of the scarcer dimension that would be requested with this one on top. */
function loadWith(node: NodeRoom, request: PlacementRequest): number {
  const share = (used: number, more: number, capacity: number): number => (capacity <= 0 ? 1 : (used + more) / capacity);
  return Math.max(
    share(node.used.cpu, request.resources.cpu, node.capacity.cpu),
    share(node.used.memoryBytes, request.resources.memoryBytes, node.capacity.memoryBytes),
  );
}

function compare(a: NodeRoom, b: NodeRoom, request: PlacementRequest): number {
  const count = (counts: ReadonlyMap<string, number>, key: string): number => counts.get(key) ?? 0;
  return (
    count(a.perDeployment, request.deploymentKey) - count(b.perDeployment, request.deploymentKey) ||
    count(a.perEntrypoint, request.entrypointKey) - count(b.perEntrypoint, request.entrypointKey) ||
    loadWith(a, request) - loadWith(b, request) ||
    (a.id < b.id ? -1 : 1)
  );
}

/** Spread: fewest of the same Deployment's Entrypoint, then of the Entrypoint at all, then the least loaded. */
const auto: Strategy = (nodes, request) => nodes.toSorted((a, b) => compare(a, b, request))[0];

/** null: not there yet, refused at plan. */
export const STRATEGIES: Readonly<Record<EntrypointSpec['placement']['strategy'], Strategy | null>> = {
  auto,
  fill: null,
  each: null,
  global: null,
  drained: null,
};
