// What the Edges have counted of versions that stand side by side, for as long as it matters: ten minutes back. Only in memory; after a
// start of control the first report of each Edge brings all since its split began.

import type { VersionReport } from '../../api/dataplane.ts';
import type { Clock } from '../../lib/clock.ts';
import { LATENCY_BOUNDS_MS, NO_REQUESTS, plus } from '../../model/version-counts.ts';
import type { Comparison, VersionCount } from '../../model/version-counts.ts';

/** What is compared: the last half minute, so that a sudden change shows; longer, so that few requests are enough. */
export const WINDOWS_MS: readonly number[] = [30_000, 120_000, 600_000];
const KEPT_MS = 610_000;
/** Samples of one version are at least this far apart. */
const APART_MS = 2000;
/** Versions that one Edge may report, and that are remembered of all. */
const REPORTED = 2000;
const SERIES = 10_000;

interface Series {
  readonly group: string;
  readonly deploymentId: string;
  /** As it was last reported: it falls when an Edge begins anew. */
  raw: VersionCount;
  /** All that was ever reported, at what time; oldest first. */
  readonly samples: { readonly atMs: number; readonly count: VersionCount }[];
  now: VersionCount;
  seenMs: number;
}

export interface VersionHistory {
  take(edgeId: string, versions: readonly VersionReport[]): void;
  /** The two side by side, per Entrypoint and window. */
  compare(stableId: string, candidateId: string): readonly Comparison[];
}

export function createVersionHistory(clock: Clock): VersionHistory {
  const series = new Map<string, Series>();

  const forget = (nowMs: number): void => {
    for (const [key, one] of series) if (nowMs - one.seenMs > KEPT_MS) series.delete(key);
  };

  /** What came in within the window before now. */
  const within = (one: Series, nowMs: number, windowMs: number): VersionCount => {
    const base = one.samples.findLast((sample) => sample.atMs <= nowMs - windowMs);
    return base === undefined ? one.now : plus(one.now, base.count, -1);
  };

  return {
    take: (edgeId, versions) => {
      const nowMs = clock.monotonic();
      forget(nowMs);
      for (const version of versions.slice(0, REPORTED)) {
        const { group, deploymentId, ...count } = version;
        const key = `${edgeId} ${group} ${deploymentId}`;
        const known = series.get(key);
        if (known === undefined) {
          if (series.size < SERIES) series.set(key, { group, deploymentId, raw: count, samples: [], now: count, seenMs: nowMs });
          continue;
        }
        const restarted = count.requests < known.raw.requests;
        const last = known.samples.at(-1);
        if (last === undefined || nowMs - last.atMs >= APART_MS) known.samples.push({ atMs: nowMs, count: known.now });
        while ((known.samples[0]?.atMs ?? nowMs) < nowMs - KEPT_MS) known.samples.shift();
        known.now = plus(known.now, restarted ? count : plus(count, known.raw, -1));
        known.raw = count;
        known.seenMs = nowMs;
      }
    },
    compare: (stableId, candidateId) => {
      const nowMs = clock.monotonic();
      const groups = new Map<string, { readonly stable: Series[]; readonly candidate: Series[] }>();
      for (const one of series.values()) {
        if (one.deploymentId !== stableId && one.deploymentId !== candidateId) continue;
        const group = groups.get(one.group) ?? { stable: [], candidate: [] };
        group[one.deploymentId === stableId ? 'stable' : 'candidate'].push(one);
        groups.set(one.group, group);
      }
      return [...groups].flatMap(([group, { stable, candidate }]) =>
        WINDOWS_MS.map((windowMs) => {
          const sum = (versions: readonly Series[], ms: number): VersionCount =>
            versions.reduce((all, one) => plus(all, within(one, nowMs, ms)), NO_REQUESTS);
          const both = (ms: number) => ({ stable: sum(stable, ms), candidate: sum(candidate, ms) });
          return { entrypoint: group.slice(group.indexOf('/') + 1), windowMs, ...both(windowMs), recent: both(windowMs / 3) };
        }),
      );
    },
  };
}

/** Whether a part of a report holds what it must. */
export function isVersionReport(value: unknown): value is VersionReport {
  if (typeof value !== 'object' || value === null) return false;
  const isCount = (count: unknown): boolean => typeof count === 'number' && Number.isFinite(count) && count >= 0;
  return (
    'group' in value &&
    typeof value.group === 'string' &&
    'deploymentId' in value &&
    typeof value.deploymentId === 'string' &&
    'requests' in value &&
    isCount(value.requests) &&
    'errors' in value &&
    isCount(value.errors) &&
    'latencySumMs' in value &&
    isCount(value.latencySumMs) &&
    'latencies' in value &&
    Array.isArray(value.latencies) &&
    value.latencies.length === LATENCY_BOUNDS_MS.length + 1 &&
    value.latencies.every(isCount)
  );
}
