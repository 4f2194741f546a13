// Who is there and who leads. Both kinds of record live under the lease of their control plane and end with it.

import { defineCollection } from '../../store/collection.ts';
import type { Collection } from '../../store/collection.ts';

export interface ControlPlane {
  /** The Node of its machine. */
  readonly id: string;
  /** For people: the name that the machine was given. */
  readonly name: string;
  /** Where the others reach its API; null: nowhere. */
  readonly url: string | null;
  readonly version: string;
  readonly startedAtMs: number;
}

export interface Leader {
  readonly id: typeof LEADER_ID;
  /** Of its control plane. */
  readonly controlId: string;
  readonly url: string | null;
}

/** There is but one. */
export const LEADER_ID = 'control';

export const controlPlaneRecords: Collection<ControlPlane> = defineCollection<ControlPlane>({ name: 'control-planes' });
export const leaderRecords: Collection<Leader> = defineCollection<Leader>({ name: 'leaders' });

export const LEADER_KEY = `${leaderRecords.name}/${LEADER_ID}`;
