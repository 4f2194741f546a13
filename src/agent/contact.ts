// Tells Instances that must not run twice when control has not been heard for too long: it may have started another copy elsewhere.
// Monotonic time only, so a jump of the clock stops nothing.

import type { Clock } from '../lib/clock.ts';
import type { Instances } from './instances.ts';

const CHECK_EVERY_MS = 1000;

export interface Contact {
  heard(): void;
  stop(): void;
}

export function createContact(clock: Clock, instances: Pick<Instances, 'all'>): Contact {
  let heardAt = clock.monotonic();
  let cancel = clock.timer(CHECK_EVERY_MS, check);

  function check(): void {
    const silenceMs = clock.monotonic() - heardAt;
    for (const supervisor of instances.all()) {
      const { cutOffAfterMs, cutOff } = supervisor.state();
      if (cutOffAfterMs !== null && !cutOff && silenceMs >= cutOffAfterMs) supervisor.send({ kind: 'cut-off', value: true });
    }
    cancel = clock.timer(CHECK_EVERY_MS, check);
  }

  return {
    heard: () => {
      heardAt = clock.monotonic();
      for (const supervisor of instances.all()) if (supervisor.state().cutOff) supervisor.send({ kind: 'cut-off', value: false });
    },
    stop: () => cancel(),
  };
}
