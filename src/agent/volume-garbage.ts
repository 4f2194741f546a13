// Volumes whose Environment is gone for good are deleted after a time. Control says which are gone; the time is counted here, in steps that
// no jump of the clock can make longer, so that a platform that was restored from an older copy can be mended before anything is lost.
// What this platform surely never had here it cannot miss: volumes of another one, or of nobody knows which, are kept.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { formatDuration } from '../model/duration.ts';
import { readJsonFile, replaceFileSync } from '../sys/durable-file.ts';
import type { Log } from '../sys/log.ts';
import { removeTree } from '../sys/remove-tree.ts';
import type { AgentLink } from './link.ts';
import type { VolumeOwners } from './volume-owners.ts';

export interface VolumeGarbageOptions {
  /** Holds a folder for each Environment, by its id. */
  readonly root: string;
  /** What is remembered of those that are gone. */
  readonly file: string;
  readonly link: Pick<AgentLink, 'goneEnvironments'>;
  readonly owners: VolumeOwners;
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
/** Ids in one line of the log. */
const TOLD = 20;
const ID = /^[0-9a-f-]{36}$/u;

export function createVolumeGarbage(options: VolumeGarbageOptions): { collect(signal: AbortSignal): Promise<void> } {
  const { root, file, link, owners, keepMs, everyMs, clock, log } = options;
  const told = new Set<string>();

  /** Once for each; it stays until somebody deletes it. */
  const tell = (strangers: readonly string[]): void => {
    for (const id of [...told].filter((each) => !strangers.includes(each))) told.delete(id);
    const news = strangers.filter((id) => !told.has(id));
    if (news.length === 0) return;
    for (const id of news) told.add(id);
    log.warn(
      { folder: root, environments: news.slice(0, TOLD), count: news.length },
      'volumes of Environments that this platform does not have, and may never have had, are kept; delete their folders if nobody needs them',
    );
  };

  return {
    collect: async (signal) => {
      const own: string[] = [];
      const unknown: string[] = [];
      const strangers: string[] = [];
      for (const id of (await readdir(root)).filter((name) => ID.test(name))) {
        const owner = await owners.of(id);
        // An Instance alone says nothing about an owner: it may be left from a platform that the Node was of before.
        if (owner === 'unknown' || !options.isUsed(id)) ({ own, unknown, other: strangers })[owner].push(id);
      }
      const asked = [...own, ...unknown].slice(0, MOST);
      const gone = new Set(asked.length === 0 ? [] : await link.goneEnvironments(asked, signal));
      for (const id of unknown.filter((each) => asked.includes(each))) {
        // Made before owners were remembered.
        if (!gone.has(id)) await owners.claim(id);
        else if (!options.isUsed(id)) strangers.push(id);
      }
      tell(strangers);
      const before = readGone(file);
      const now = clock.now();
      const after = new Map<string, Gone>();
      for (const id of own.filter((each) => gone.has(each))) {
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
