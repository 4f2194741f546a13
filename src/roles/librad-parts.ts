// What every librad is given, whatever its machine is to the platform.

import type { ForwardTarget } from '../agent/forward/forwarder.ts';
import type { Settings } from '../config.ts';
import type { Clock } from '../lib/clock.ts';
import type { Random } from '../lib/id.ts';
import type { DataLock } from '../store/lock.ts';
import type { KeeperClient } from '../sys/keeper-client.ts';
import type { Log } from '../sys/log.ts';
import type { DataPaths } from './paths.ts';

export interface Librad {
  readonly settings: Settings;
  readonly paths: DataPaths;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly keeper: KeeperClient;
  readonly lock: Pick<DataLock, 'describe'>;
  /** Where the output of Instances goes besides. */
  readonly forward: readonly ForwardTarget[] | undefined;
  /** What stops each part that was started, in the order of starting. */
  readonly undo: (() => Promise<void> | void)[];
  readonly startedAtMs: number;
  readonly onProgress: (message: string) => void;
  /** Nobody asked for the end, and the keeper starts it anew: what serves meanwhile is left alone. */
  comesBack(): boolean;
  /** Whether its end leaves Instances running. */
  keepsInstances(): boolean;
  /** Asks for its end. */
  readonly end: (options: { readonly keepInstances: boolean }) => void;
}
