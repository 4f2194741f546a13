// What the pools of both protocols are to those who use them: pool.ts and h2/target-sessions.ts.

import type { Clock } from '../lib/clock.ts';
import type { Dial, Target } from './dial.ts';
import type { ProxyLimits } from './limits.ts';
import type { Upstreams } from './message.ts';

export interface KeptUpstreams extends Upstreams {
  /** Closes the unused connections of a target. */
  closeIdle(target: Target): void;
  /** Keeps no connection to these targets any longer; their requests in flight go on. */
  forget(targets: readonly Target[]): void;
  sizes(): { readonly targets: number; readonly idle: number; readonly busy: number };
  stop(): void;
}

export interface KeptUpstreamsOptions {
  readonly dial: Dial;
  readonly limits: ProxyLimits;
  readonly clock: Clock;
}
