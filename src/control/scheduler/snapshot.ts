// What placement looks at: Nodes with what is already requested on them, and what shall be placed. Plain data, so that the same
// snapshot gives the same Plan on every machine.

import type { DriverChoice } from '../../model/compatibility.ts';
import type { DriverInfo } from '../../model/documents.ts';
import type { EntrypointSpec } from '../../model/manifest-types.ts';

export interface Amount {
  readonly cpu: number;
  readonly memoryBytes: number;
}

/** A Node and what its Instances already ask for. Usage is derived from Instances each time, never stored. */
export interface NodeRoom {
  readonly id: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Why it gets nothing new (cordoned, draining, down); null: it is open. */
  readonly closed: string | null;
  readonly drivers: readonly DriverInfo[];
  readonly capacity: Amount;
  readonly used: Amount;
  /** Fixed ports that processes on it hold. */
  readonly ports: ReadonlySet<number>;
  /** Instances by `<deployment>/<entrypoint>`. */
  readonly perDeployment: ReadonlyMap<string, number>;
  /** Instances by `<environment>/<entrypoint>`. */
  readonly perEntrypoint: ReadonlyMap<string, number>;
}

export interface PlacementRequest {
  /** Names the request in the Plan. */
  readonly key: string;
  readonly resources: Amount;
  readonly strategy: EntrypointSpec['placement']['strategy'];
  readonly labels: Readonly<Record<string, string>>;
  /** Most Instances of one Deployment's Entrypoint on a Node; 0 is no bound. */
  readonly perNode: number;
  readonly deploymentKey: string;
  readonly entrypointKey: string;
  /** The Node that holds its volume; null: any. */
  readonly stickyNodeId: string | null;
  readonly fixedPort: number | null;
  readonly driver: (drivers: readonly DriverInfo[]) => DriverChoice;
}

export interface Unplaced {
  readonly key: string;
  readonly code: 'no_capacity' | 'unsupported';
  readonly message: string;
  readonly hint: string;
}

export interface Plan {
  /** Request key → Node id. */
  readonly placed: ReadonlyMap<string, string>;
  readonly unplaced: readonly Unplaced[];
}
