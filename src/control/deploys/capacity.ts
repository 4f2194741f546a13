// Whether all that a Deployment or a scale asks for finds a Node, tried on a snapshot before anything is written.

import { wantedInstances } from '../../model/effective.ts';
import type { Environment } from '../../model/documents.ts';
import type { Build, EntrypointSpec } from '../../model/manifest-types.ts';
import type { View } from '../../store/view.ts';
import { schedule } from '../scheduler/schedule.ts';
import type { NodeRoom, Plan, PlacementRequest, Unplaced } from '../scheduler/snapshot.ts';
import { requestOf, stopFirstBecause } from './placement.ts';
import { roomsOf } from './rooms.ts';
import { nodeSpecRecords } from '../cluster/records.ts';
import { instanceSpecRecords } from './records.ts';

interface Rollout {
  readonly spec: EntrypointSpec;
  readonly instances: number;
  readonly source: 'override' | 'environment' | 'entrypoint';
  /** Why the old one goes first; null: the new one starts first. */
  readonly stopFirst: string | null;
  /** Names of the Nodes that it would be on. */
  readonly nodes: readonly string[];
}

interface Shortage {
  readonly entrypoint: string;
  readonly code: Unplaced['code'];
  readonly message: string;
  readonly hint: string;
}

export interface Fit {
  readonly rollouts: readonly Rollout[];
  readonly shortages: readonly Shortage[];
}

export interface FitInput {
  readonly runtimeId: string;
  readonly environmentName: string;
  /** null: it would be made. */
  readonly environment: Environment | null;
  readonly overrides: Environment['overrides'];
  readonly entrypoints: Readonly<Record<string, EntrypointSpec>>;
  readonly build: Build;
  /** Only the final count counts: nothing is replaced. */
  readonly scaleOnly: boolean;
  /** So many new Instances of what listens stand beside all old ones; null: as the rollout says. */
  readonly beside: ((instances: number) => number) | null;
}

const NEW = 'new';
/** More than this is not tried one by one; a thousand Instances of one Entrypoint are the limit of a scale. */
const MAX_REQUESTS = 2000;

export function tryFit(view: View, input: FitInput): Fit {
  const environmentId = input.environment?.id ?? NEW;
  // Alone: what would be there in the end, as if the Environment's present Instances were gone.
  const alone = roomsOf(view, input.runtimeId, environmentId);
  const request = (spec: EntrypointSpec, key: string, stickyNodeId: string | null): PlacementRequest =>
    requestOf(spec, input.build, { key, deploymentId: NEW, environmentId, stickyNodeId });
  const requests: PlacementRequest[] = [];
  const wanted = Object.values(input.entrypoints)
    .filter((spec) => spec.run === 'service')
    .map((spec) => ({ spec, ...wantedInstances(spec, null, input.environmentName, input.overrides) }));
  for (const { spec, instances } of wanted) {
    for (let slot = 0; slot < instances && requests.length < MAX_REQUESTS; slot += 1) {
      requests.push(request(spec, `${spec.name}/${slot}`, volumeNodeOf(view, input.environment, spec, slot)));
    }
  }
  const plan = schedule(alone, requests);
  const shortages = new Map<string, Shortage>();
  const note = (entrypoint: string, unplaced: Unplaced, message = unplaced.message, hint = unplaced.hint): void => {
    if (!shortages.has(entrypoint))
      shortages.set(entrypoint, { entrypoint, code: unplaced.code, message: `${entrypoint}: ${message}`, hint });
  };
  for (const unplaced of plan.unplaced) note(unplaced.key.slice(0, unplaced.key.indexOf('/')), unplaced);
  const now = input.environment === null || input.scaleOnly ? null : roomsOf(view, input.runtimeId);
  const rollouts = wanted.map(({ spec, instances, source }): Rollout => {
    const stopFirst = stopFirstBecause(view, input.runtimeId, spec, input.build);
    const beside = spec.listens ? (input.beside?.(instances) ?? null) : null;
    const needsRoom = beside !== null || spec.rollout.unavailable === 0;
    if (now !== null && stopFirst === null && needsRoom && instances > 0 && runs(view, environmentId, spec.name)) {
      const extra = Array.from({ length: beside ?? 1 }, (_unused, slot) => request(spec, `${spec.name}/${slot}`, null));
      const [unplaced] = schedule(now, extra).unplaced;
      if (unplaced !== undefined && beside !== null) {
        note(
          spec.name,
          unplaced,
          `a canary stands beside all old Instances with ${beside} of its own, and there is no room for them. ${unplaced.message}`,
          'Make room, or roll it out at once: libra deploy --canary off',
        );
      } else if (unplaced !== undefined) {
        note(
          spec.name,
          unplaced,
          `its new Instances start before the old ones stop, and there is no room for both. ${unplaced.message}`,
          'Make room, or let the old one go first: `rollout: { surge: 0, unavailable: 1 }`.',
        );
      }
    }
    return { spec, instances, source, stopFirst, nodes: nodesOf(alone, plan.placed, spec.name) };
  });
  for (const spec of Object.values(input.entrypoints)) {
    if (spec.run === 'service' || input.scaleOnly) continue;
    const [unplaced] = schedule(alone, [request(spec, spec.name, null)]).unplaced;
    if (unplaced !== undefined) note(spec.name, unplaced);
  }
  return { rollouts, shortages: [...shortages.values()] };
}

function runs(view: View, environmentId: string, entrypoint: string): boolean {
  return view
    .by(instanceSpecRecords, 'environment', environmentId)
    .some(({ document }) => document.role === 'service' && document.entrypoint === entrypoint && document.desired === 'run');
}

/** The Node that holds the volume of a slot: where its newest Instance was; null: none does. */
export function volumeNodeOf(view: View, environment: Environment | null, spec: EntrypointSpec, slot: number): string | null {
  if (environment === null || spec.volumes.length === 0) return null;
  const newest = view
    .by(instanceSpecRecords, 'environment', environment.id)
    .map(({ document }) => document)
    .filter((one) => one.entrypoint === spec.name && one.slot === slot)
    .sort((a, b) => b.createdAtMs - a.createdAtMs)[0];
  // What a removed Node held is gone with it.
  return newest === undefined || view.get(nodeSpecRecords, newest.nodeId) === undefined ? null : newest.nodeId;
}

function nodesOf(rooms: readonly NodeRoom[], placed: Plan['placed'], entrypoint: string): readonly string[] {
  const ids = new Set<string>();
  for (const [key, { nodeId }] of placed) if (key.slice(0, key.indexOf('/')) === entrypoint) ids.add(nodeId);
  return rooms
    .filter(({ id }) => ids.has(id))
    .map(({ name }) => name)
    .sort();
}
