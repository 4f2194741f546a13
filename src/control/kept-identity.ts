// What this machine shows to others: made by its own control plane whenever that starts, and again before it is over.

import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/failure.ts';
import { startLoop } from '../lib/loop.ts';
import type { Log } from '../sys/log.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';

const LOOK_EVERY_MS = 3_600_000;
const RENEW_BEFORE_MS = 15 * 86_400_000;

export interface KeptIdentityOptions {
  readonly issue: () => { readonly identity: MachineIdentity; readonly untilMs: number };
  /** It was renewed. */
  readonly onRenewed: (identity: MachineIdentity) => void;
  readonly clock: Clock;
  readonly log: Log;
}

export function keepIdentity({ issue, onRenewed, clock, log }: KeptIdentityOptions): {
  readonly first: MachineIdentity;
  stop(): Promise<void>;
} {
  let current = issue();
  const renewal = startLoop({
    clock,
    everyMs: LOOK_EVERY_MS,
    onError: (error) => log.error({ error: messageOf(error) }, 'the certificate of this machine cannot be renewed'),
    run: async () => {
      if (current.untilMs - clock.now() > RENEW_BEFORE_MS) return;
      current = issue();
      onRenewed(current.identity);
    },
  });
  return { first: current.identity, stop: () => renewal.stop() };
}
