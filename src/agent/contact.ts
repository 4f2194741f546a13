// Tells Instances that must not run twice when control has not been heard for too long: it may have started another copy elsewhere. Whoever
// runs them is told as well how long that may go on, for an agent that is itself stopped tells nobody. Monotonic time only, so a jump of
// the clock stops nothing.

import type { Clock } from '../lib/clock.ts';
import { isFailure, messageOf } from '../lib/failure.ts';
import type { Log } from '../sys/log.ts';
import type { Supervisor } from './supervisor.ts';

const CHECK_EVERY_MS = 1000;
/** Control may have heard the agent so long before the agent heard control for the last time. */
const REPORT_EVERY_MS = 5000;

export interface Contact {
  /**
   * Something came from control. False: it came after so long a silence that only all of the desired state, asked for anew, tells what may
   * run; what lay in buffers meanwhile is no word of now.
   */
  heard(isSnapshot: boolean): boolean;
  stop(): void;
}

type Told = Pick<Supervisor, 'state' | 'send' | 'running' | 'spec'>;

export function createContact(clock: Clock, log: Log, instances: { readonly all: () => readonly Told[] }): Contact {
  let heardAt = clock.monotonic();
  let attendedAt = Number.NEGATIVE_INFINITY;
  /** A keeper of an older version does not know how; the agent alone keeps the promise then. */
  let isKnown = true;
  let cancel = clock.timer(CHECK_EVERY_MS, look);

  /** Whether some Instance has been cut off. */
  function check(): boolean {
    const silenceMs = clock.monotonic() - heardAt;
    let isAny = false;
    for (const supervisor of instances.all()) {
      const { cutOffAfterMs, cutOff } = supervisor.state();
      if (cutOffAfterMs === null || silenceMs < cutOffAfterMs) continue;
      isAny = true;
      if (!cutOff) supervisor.send({ kind: 'cut-off', value: true });
    }
    return isAny;
  }

  function look(): void {
    check();
    cancel = clock.timer(CHECK_EVERY_MS, look);
  }

  /** Until halfway between the time at which the agent stops them and that at which they are replaced, which control counts from the last report. */
  const attend = (): void => {
    if (!isKnown || clock.monotonic() - attendedAt < CHECK_EVERY_MS) return;
    attendedAt = clock.monotonic();
    for (const supervisor of instances.all()) {
      const spec = supervisor.spec();
      const running = spec?.singleton === true ? supervisor.running() : null;
      if (spec === null || running?.driver.attend === undefined) continue;
      const { stopAfterMs, replaceAfterMs } = spec.disconnect;
      const forMs = Math.max(1, Math.round(stopAfterMs + Math.max(0, replaceAfterMs - stopAfterMs - REPORT_EVERY_MS) / 2));
      running.driver.attend(running.handle, forMs).catch((error: unknown) => {
        isKnown &&= !isFailure(error, 'unsupported');
        log.warn({ instanceId: spec.id, error: messageOf(error) }, 'whoever runs a singleton was not told how long it may go on');
      });
    }
  };

  return {
    heard: (isSnapshot) => {
      if (!isSnapshot && check()) return false;
      heardAt = clock.monotonic();
      if (isSnapshot) {
        for (const supervisor of instances.all()) if (supervisor.state().cutOff) supervisor.send({ kind: 'cut-off', value: false });
      }
      attend();
      return true;
    },
    stop: () => cancel(),
  };
}
