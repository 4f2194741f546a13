// The token by which each Instance shows who it is: a file in a folder of its own, written before the program starts and replaced by rename
// while most of its time is left, so that whoever opens it always reads one that is good for minutes, also when this agent is away for ten.
// The folder is the App's, as secret files are; in it we touch nothing that is there already, for the App may have put it there.

import { closeSync, fchmodSync, mkdirSync, openSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { DesiredInstance } from '../api/agent.ts';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/failure.ts';
import { startLoop } from '../lib/loop.ts';
import type { Loop } from '../lib/loop.ts';
import type { Log } from '../sys/log.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import { signInstanceToken } from '../tunnel/instance-token.ts';
import type { InstanceClaims } from '../tunnel/instance-token.ts';
import { claimsOf } from './instance-state.ts';
import type { InstanceState } from './instance-state.ts';
import { createMemoryFolder } from './memory-folder.ts';
import type { MemoryFolder } from './memory-folder.ts';
import { isMissing } from './state-file.ts';

/** At this age it is replaced. With the time between two looks, more than twelve of its fifteen minutes are always left. */
const RENEW_AFTER_MS = 120_000;
const LOOK_EVERY_MS = 30_000;
/** Signed in one go, before others have a turn. */
const AT_ONCE = 16;
const FILE = 'token';
/** It is public to whoever passes the folder, which only the App can; so it matters to nobody whose the file is. */
const MODE = 0o444;

export interface IdentityTokens extends Pick<MemoryFolder, 'remove' | 'sweep'> {
  /** Holds the file `token` and nothing else; null: this Instance has none. */
  folder(spec: DesiredInstance): string | null;
  /** A fresh one. Answers the folder, which is still to be given to the App; null: this Instance has none. */
  write(spec: DesiredInstance): string | null;
  /**
   * From now on those of these Instances are replaced in time, at first all of them.
   * @param restore one that runs has lost its folder, as where somebody clears what a user left in memory at the end of a session
   */
  follow(states: () => readonly InstanceState[], restore: (instanceId: string) => Promise<void>): void;
  /** The machine has another key: everything is signed anew. */
  renew(): void;
  /** Replaces none any more, and removes those that nothing of these can read. */
  stop(running: ReadonlySet<string>): Promise<void>;
}

export interface IdentityTokensOptions {
  /** Of this machine; null: it has none, and so have its Instances. */
  readonly identity: (() => MachineIdentity) | null;
  readonly dataFolder: string;
  /** A folder on disk for machines without memory-backed storage. */
  readonly fallback: string;
  readonly clock: Clock;
  readonly log: Log;
}

export const tokenFile = (folder: string): string => join(folder, FILE);

export async function createIdentityTokens(options: IdentityTokensOptions): Promise<IdentityTokens> {
  const { identity, clock, log } = options;
  const place = await createMemoryFolder(options.dataFolder, '-identity', options.fallback);
  /** When each was signed, UTC milliseconds: as the clock of the token itself goes. */
  const signedAtMs = new Map<string, number>();
  let loop: Loop | null = null;

  const sign = (by: MachineIdentity, claims: InstanceClaims): void => {
    const nowMs = clock.now();
    replaceIn(place.of(claims.instanceId), signInstanceToken(by, claims, nowMs));
    signedAtMs.set(claims.instanceId, nowMs);
  };

  const isDue = (id: string): boolean => {
    const ageMs = clock.now() - (signedAtMs.get(id) ?? Number.NEGATIVE_INFINITY);
    // The clock may have been put back.
    return ageMs >= RENEW_AFTER_MS || ageMs < 0;
  };

  const renewDue = async (
    states: readonly InstanceState[],
    renewOne: (state: InstanceState, claims: InstanceClaims) => Promise<void>,
  ): Promise<void> => {
    const due = states.filter(({ activity, id }) => activity !== 'done' && isDue(id));
    for (const [index, state] of due.entries()) {
      const { claims } = state;
      if (claims === undefined) continue;
      if (index % AT_ONCE === AT_ONCE - 1) await setImmediate();
      try {
        await renewOne(state, claims);
      } catch (error) {
        log.warn(
          { instanceId: claims.instanceId, error: messageOf(error) },
          'the token of an Instance could not be replaced; it is tried again',
        );
      }
    }
    const known = new Set(states.map(({ id }) => id));
    for (const id of signedAtMs.keys()) if (!known.has(id)) signedAtMs.delete(id);
  };

  return {
    folder: (spec) => (identity === null || claimsOf(spec) === null ? null : place.of(spec.id)),
    write: (spec) => {
      const claims = claimsOf(spec);
      if (identity === null || claims === null) return null;
      mkdirSync(place.of(spec.id), { recursive: true, mode: 0o700 });
      sign(identity(), claims);
      return place.of(spec.id);
    },
    follow: (states, restore) => {
      if (identity === null) return;
      const renewOne = async ({ activity }: InstanceState, claims: InstanceClaims): Promise<void> => {
        try {
          sign(identity(), claims);
        } catch (error) {
          if (!isMissing(error)) throw error;
          // Otherwise its program has not been prepared yet.
          if (activity === 'up') await restore(claims.instanceId);
        }
      };
      loop = startLoop({
        clock,
        everyMs: LOOK_EVERY_MS,
        onError: (error) => log.error({ error: messageOf(error) }, 'tokens of Instances could not be replaced; it is tried again'),
        run: () => renewDue(states(), renewOne),
      });
    },
    renew: () => {
      signedAtMs.clear();
      loop?.wake();
    },
    remove: (instanceId) => place.remove(instanceId),
    sweep: (known) => place.sweep(known),
    stop: async (running) => {
      await loop?.stop();
      await place.sweep(running);
      await place.close();
    },
  };
}

/** Readers see the file of before or this one, whole. What lies under the name of the draft is not opened: it may lead elsewhere. */
function replaceIn(folder: string, text: string): void {
  const draft = join(folder, '.token.new');
  try {
    unlinkSync(draft);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
  const fd = openSync(draft, 'wx', MODE);
  try {
    // Whatever mask we run with.
    fchmodSync(fd, MODE);
    writeSync(fd, text);
  } finally {
    closeSync(fd);
  }
  renameSync(draft, tokenFile(folder));
}
