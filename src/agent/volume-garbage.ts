// Volumes whose Environment is gone for good are deleted after a time. Control says which are gone; the time is counted here, in steps that
// no jump of the clock can make longer, so that a platform that was restored from an older copy can be mended before anything is lost.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { formatDuration } from '../model/duration.ts';
import { readJsonFile, replaceFileSync } from '../sys/durable-file.ts';
import type { Log } from '../sys/log.ts';
import { removeTree } from '../sys/remove-tree.ts';
import type { AgentLink } from './link.ts';

export interface VolumeGarbageOptions {
  /** Holds a folder for each Environment, by its id. */
  readonly root: string;
  /** What is remembered of those that are gone. */
  readonly file: string;
  readonly link: Pick<AgentLink, 'goneEnvironments'>;
  /** An Environment that some Instance here is of, whatever state it is in. */
  readonly isUsed: (environmentId: string) => boolean;
  /** So long they are kept. */
  readonly keepMs: number;
  /** How often `collect` is called. */
  readonly everyMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

interface Gone {
  readonly forMs: number;
  /** When that was counted, UTC milliseconds. */
  readonly atMs: number;
}

/** As many are asked about at once. */
const MOST = 1000;
const ID = /^[0-9a-f-]{36}$/u;

export function createVolumeGarbage(options: VolumeGarbageOptions): { collect(signal: AbortSignal): Promise<void> } {
  const { root, file, link, keepMs, everyMs, clock, log } = options;
  return {
    collect: async (signal) => {
      const here = (await readdir(root)).filter((name) => ID.test(name) && !options.isUsed(name)).slice(0, MOST);
      const gone = here.length === 0 ? [] : await link.goneEnvironments(here, signal);
      const before = readGone(file);
      const now = clock.now();
      const after = new Map<string, Gone>();
      for (const id of here.filter((each) => gone.includes(each))) {
        const known = before.get(id);
        const passedMs = known === undefined ? 0 : Math.min(Math.max(0, now - known.atMs), 2 * everyMs);
        const forMs = (known?.forMs ?? 0) + passedMs;
        if (known === undefined)
          log.info({ environmentId: id, keptFor: formatDuration(keepMs) }, 'volumes of an Environment that is gone will be deleted');
        if (forMs < keepMs || options.isUsed(id)) {
          after.set(id, { forMs, atMs: now });
          continue;
        }
        log.info({ environmentId: id }, 'deleting the volumes of an Environment that is gone');
        await removeTree(join(root, id));
      }
      if (before.size > 0 || after.size > 0) replaceFileSync(file, JSON.stringify(Object.fromEntries(after)));
    },
  };
}

function readGone(file: string): ReadonlyMap<string, Gone> {
  const kept = readJsonFile(file);
  if (typeof kept !== 'object' || kept === null) return new Map();
  return new Map(
    Object.entries(kept).flatMap(([id, value]: [string, unknown]) => {
      if (typeof value !== 'object' || value === null || !('forMs' in value) || !('atMs' in value)) return [];
      const { forMs, atMs } = value;
      return typeof forMs === 'number' && typeof atMs === 'number' ? [[id, { forMs, atMs }] as const] : [];
    }),
  );
}
