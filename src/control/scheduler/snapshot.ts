// What placement looks at: Nodes with what is already requested on them, and what shall be placed. Plain data, so that the same
// snapshot gives the same Plan on every machine.

import type { DriverChoice } from '../../model/compatibility.ts';
import type { CoreShare, DriverInfo } from '../../model/documents.ts';
import type { EntrypointSpec } from '../../model/manifest-types.ts';

export interface Amount {
  readonly cpu: number;
  readonly memoryBytes: number;
  /** For volumes; absent as a capacity: as much as is wanted, else none. */
  readonly volumeBytes?: number;
  /** Countable things, by name; absent: none. */
  readonly devices?: Readonly<Record<string, number>>;
}

/** What one Instance is charged with. */
export interface Ask extends Amount {
  /** The cpu is cores of its own. */
  readonly bind: boolean;
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
  /** So many times its capacity may be asked for; cores of their own are never given twice. */
  readonly overcommit: { readonly cpu: number; readonly memory: number };
  /** By those that share the cpu; the memory by all. */
  readonly used: Amount;
  /** Hundredths of each core that are not some Instance's own. */
  readonly freePieces: readonly number[];
  /** Fixed ports that processes on it hold. */
  readonly ports: ReadonlySet<number>;
  /** Entrypoints that have an Instance there, by `<environment>/<entrypoint>`. */
  readonly hosts: ReadonlySet<string>;
  /** Those that may not come, each with one that is there and is to be apart from it. */
  readonly shunned: ReadonlyMap<string, string>;
  /** Instances by `<deployment>/<entrypoint>`. */
  readonly perDeployment: ReadonlyMap<string, number>;
}

export interface PlacementRequest {
  /** Names the request in the Plan. */
  readonly key: string;
  readonly ask: Ask;
  readonly strategy: EntrypointSpec['placement']['strategy'];
  readonly labels: Readonly<Record<string, string>>;
  /** Most Instances of one Deployment's Entrypoint on a Node, 0 is no bound; by the strategies fill and each, how many each Node gets. */
  readonly perNode: number;
  /** Requests with the same one are alike but for their key and the Node that they stick to. */
  readonly deploymentKey: string;
  /** `<environment>/<entrypoint>`. */
  readonly hostKey: string;
  /** Of `hosts`: all of them have to be there. */
  readonly near: readonly string[];
  /** Of `hosts`: none of them may be there. */
  readonly apart: readonly string[];
  /** Evenly over the values of this label first; null: all Nodes are alike. */
  readonly spread: string | null;
  /** The Node that holds its volume; null: any. */
  readonly stickyNodeId: string | null;
  readonly fixedPort: number | null;
  readonly driver: (drivers: readonly DriverInfo[]) => DriverChoice;
}

export interface Unplaced {
  readonly key: string;
  /** `not_allowed`: no Node was asked. */
  readonly code: 'no_capacity' | 'unsupported' | 'not_allowed';
  readonly message: string;
  readonly hint: string;
}

/** Where one goes. */
export interface Place {
  readonly nodeId: string;
  /** Of its own; null: it shares. */
  readonly cores: readonly CoreShare[] | null;
}

export interface Plan {
  /** By the key of the request. */
  readonly placed: ReadonlyMap<string, Place>;
  readonly unplaced: readonly Unplaced[];
}
