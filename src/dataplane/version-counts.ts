// What the versions of a group did with their requests, counted only where a split is in force: control compares them. Counters begin
// when the split does and only grow while it is there; their number is bounded by the targets of the table.

import type { RouteGroup, VersionReport } from '../api/dataplane.ts';
import { bucketOf, LATENCY_BOUNDS_MS } from '../model/version-counts.ts';

export interface VersionCounts {
  /** Groups that have changed, and those that are no more. */
  change(put: readonly RouteGroup[], remove: readonly string[]): void;
  /** The outcome of one try. `latencyMs` null: there was no answer to time. */
  observe(groupId: string, targetId: string, failed: boolean, latencyMs: number | null): void;
  /** undefined where no split is in force. */
  report(): readonly VersionReport[] | undefined;
}

/** A report has a bound; who tries more versions at once is not told which of them are bad. */
const REPORTED_GROUPS = 500;

interface Count {
  requests: number;
  errors: number;
  latencySumMs: number;
  readonly latencies: number[];
}

interface Counted {
  readonly deployments: ReadonlyMap<string, string>;
  readonly counts: Map<string, Count>;
}

export function createVersionCounts(): VersionCounts {
  const counted = new Map<string, Counted>();
  return {
    change: (put, remove) => {
      for (const id of remove) counted.delete(id);
      for (const group of put) {
        // A version that gets nothing is compared with nobody.
        if (group.split === undefined || (group.split.percent === 0 && group.split.rules.length === 0)) {
          counted.delete(group.id);
          continue;
        }
        const deployments = new Map(group.targets.map((target) => [target.instanceId, target.deploymentId]));
        counted.set(group.id, { deployments, counts: counted.get(group.id)?.counts ?? new Map<string, Count>() });
      }
    },
    observe: (groupId, targetId, failed, latencyMs) => {
      if (counted.size === 0) return;
      const group = counted.get(groupId);
      const deploymentId = group?.deployments.get(targetId);
      if (group === undefined || deploymentId === undefined) return;
      let count = group.counts.get(deploymentId);
      if (count === undefined) {
        count = { requests: 0, errors: 0, latencySumMs: 0, latencies: Array.from({ length: LATENCY_BOUNDS_MS.length + 1 }, () => 0) };
        group.counts.set(deploymentId, count);
      }
      count.requests += 1;
      if (failed) count.errors += 1;
      if (latencyMs === null) return;
      const bucket = bucketOf(latencyMs);
      count.latencySumMs += latencyMs;
      count.latencies[bucket] = (count.latencies[bucket] ?? 0) + 1;
    },
    report: () => {
      if (counted.size === 0) return undefined;
      return [...counted]
        .slice(0, REPORTED_GROUPS)
        .flatMap(([group, { counts }]) =>
          [...counts].map(([deploymentId, count]) => ({ group, deploymentId, ...count, latencies: [...count.latencies] })),
        );
    },
  };
}
