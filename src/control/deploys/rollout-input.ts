// What a rollout decides on and what it decides, as plain data: everything observed goes in, everything to be written comes out.

import type { Deployment, DeploymentStatus, Environment, InstanceSpec, InstanceStatus, Release } from '../../model/documents.ts';
import type { EntrypointSpec } from '../../model/manifest-types.ts';
import type { Comparison } from '../../model/version-counts.ts';
import type { EventInput } from '../context.ts';
import type { Plan, Unplaced } from '../scheduler/snapshot.ts';

/** What the Edges say about single Instances. */
export interface Traffic {
  /** Every connected Edge sends requests to it; true for an Instance that does not listen. */
  inForce(instanceId: string): boolean;
  /** No connected Edge sends it new requests or has open ones. */
  drained(instanceId: string): boolean;
  /** What they have counted of two versions side by side. */
  compare(stableId: string, candidateId: string): readonly Comparison[];
}

export interface RolloutInstance {
  readonly spec: InstanceSpec;
  /** null: its agent has not reported it yet. */
  readonly status: InstanceStatus | null;
}

export interface RolloutDeployment {
  readonly deployment: Deployment;
  readonly status: DeploymentStatus;
  readonly release: Pick<Release, 'number' | 'state' | 'reason' | 'manifest'>;
}

/** One slot that wants a Node. */
export interface SlotRequest {
  readonly key: string;
  readonly deployment: Deployment;
  readonly entrypoint: EntrypointSpec;
  /** The Node that holds the slot's volume; null: any. */
  readonly stickyNodeId: string | null;
}

export interface RolloutInput {
  /** UTC milliseconds. */
  readonly nowMs: number;
  /** Real time that passed since a recorded moment, whatever the wall clock did meanwhile. */
  readonly elapsedMs: (sinceMs: number) => number;
  readonly newId: () => string;
  readonly appState: 'active' | 'deleting';
  readonly environment: Environment;
  /** The stable and candidate Deployments, unfinished ones, and those of Instances that have not ended. */
  readonly deployments: ReadonlyMap<string, RolloutDeployment>;
  /** All Instances of the Environment that are kept, ended ones included, in order of their ids. */
  readonly instances: readonly RolloutInstance[];
  /** Nodes that are being emptied. */
  readonly drainingNodes: ReadonlySet<string>;
  /** Pure: where these would go, in order, on top of what is there. */
  readonly place: (requests: readonly SlotRequest[]) => Plan;
  /** Whether two of this Entrypoint cannot be side by side in a slot. */
  readonly stopFirst: (spec: EntrypointSpec, release: RolloutDeployment['release']) => boolean;
  readonly traffic: Traffic;
  /** Most Instances that one Plan changes; the rest comes with the next. */
  readonly maxChanges: number;
  /** And that it creates. */
  readonly maxCreates: number;
}

export interface RolloutPlan {
  readonly creates: readonly InstanceSpec[];
  /** Whole new specs of existing Instances, generation grown. */
  readonly changes: readonly InstanceSpec[];
  readonly statuses: readonly DeploymentStatus[];
  /** With what changed in it; null: unchanged. */
  readonly environment: Environment | null;
  readonly events: readonly EventInput[];
  /** Slots that found no Node: `<entrypoint>/<slot>` → why. For people; nothing is written for them. */
  readonly unplaced: ReadonlyMap<string, Unplaced>;
  /** When to look again even if nothing changes, milliseconds; null: never. */
  readonly wakeInMs: number | null;
}
