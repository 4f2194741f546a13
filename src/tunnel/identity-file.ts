// The identity of this machine as a file that somebody else replaces: looked at again when it is asked for, so that nothing has to watch
// it, and what cannot be read leaves the one in force that was there before.

import { readFileSync, statSync } from 'node:fs';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/failure.ts';
import type { Log } from '../sys/log.ts';
import { identityOf } from './identity.ts';
import type { MachineIdentity } from './identity.ts';

/** So long the file counts as unchanged. */
const LOOK_EVERY_MS = 1_000;

/** @param file JSON of a MachineIdentity, replaced by rename. @returns null until there was one. */
export function createIdentityFile(
  file: string,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): () => MachineIdentity | null {
  let identity: MachineIdentity | null = null;
  let lookedMs = Number.NEGATIVE_INFINITY;
  let seen = '';

  const look = (): void => {
    const facts = statSync(file, { throwIfNoEntry: false, bigint: true });
    if (facts === undefined) return;
    const now = `${facts.ino} ${facts.size} ${facts.mtimeNs}`;
    if (now === seen) return;
    seen = now;
    const read = identityOf(JSON.parse(readFileSync(file, 'utf8')));
    if (read !== null) identity = read;
    else log.warn({ file }, 'the identity of this machine has an unknown form; the one of before stays in force');
  };

  return () => {
    const nowMs = clock.monotonic();
    if (nowMs - lookedMs >= LOOK_EVERY_MS) {
      lookedMs = nowMs;
      try {
        look();
      } catch (error) {
        log.warn({ file, error: messageOf(error) }, 'the identity of this machine cannot be read; the one of before stays in force');
      }
    }
    return identity;
  };
}
