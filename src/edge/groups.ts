// The groups of the table in force, ready to be asked for a target, and the requests that wait for one. Waiting is bounded in number
// and time, and ends in the order in which it began.

import type { RouteGroup, RouteTarget } from '../api/dataplane.ts';
import type { Clock } from '../lib/clock.ts';
import { createRoundRobin } from '../proxy/balance.ts';
import type { Balancer } from '../proxy/balance.ts';
import type { Target } from '../proxy/dial.ts';
import type { OpenCounts } from '../proxy/drain.ts';
import type { PassiveHealth } from '../proxy/health.ts';
import { inOrder, sidesOf } from './versions.ts';
import type { SplitSides, VersionChoice } from './versions.ts';

interface LiveGroup {
  readonly group: RouteGroup;
  /** In use for new requests. */
  readonly active: readonly Target[];
}

export interface Groups {
  get(id: string): LiveGroup | null;
  /** Next target of the group that is not in `tried`; `busy` where each has as much open as it may. Without a choice: never the candidate. */
  next(id: string, tried: ReadonlySet<string>, version?: VersionChoice): Target | 'busy' | null;
  /** Resolves when the group has changed so that asking again makes sense, or with false: time is over, or too many wait. */
  wait(id: string, signal: AbortSignal): Promise<boolean>;
  waiting(): number;
  replace(groups: readonly RouteGroup[]): void;
  /** Every target of every group, draining ones included. */
  targets(): readonly RouteTarget[];
  stop(): void;
}

export interface GroupsOptions {
  readonly clock: Clock;
  readonly health: PassiveHealth;
  readonly open: OpenCounts;
  readonly openPerTarget: number;
  readonly waitMs: number;
  readonly waitingPerGroup: number;
}

interface Entry extends LiveGroup {
  readonly sides: SplitSides<Target> | null;
  readonly balancer: Balancer;
}

export function createGroups(options: GroupsOptions): Groups {
  const { clock, health } = options;
  let entries = new Map<string, Entry>();
  const waiters = new Map<string, Set<(again: boolean) => void>>();

  const release = (id: string, again: boolean): void => {
    const list = waiters.get(id);
    if (list === undefined) return;
    waiters.delete(id);
    for (const resolve of list) resolve(again);
  };

  const pick = (entry: Entry, targets: readonly Target[], tried: ReadonlySet<string>): Target | 'busy' | null => {
    const untried = tried.size === 0 ? targets : targets.filter((target) => !tried.has(target.id));
    const free = untried.filter((target) => options.open.count(target.id) < options.openPerTarget);
    if (free.length === 0) return untried.length === 0 ? null : 'busy';
    const healthy = free.filter((target) => !health.isOut(target));
    return entry.balancer.pick(healthy.length > 0 ? healthy : free);
  };

  return {
    get: (id) => entries.get(id) ?? null,
    next: (id, tried, version) => {
      const entry = entries.get(id);
      if (entry === undefined) return null;
      const { sides, group } = entry;
      if (sides === null || group.split === undefined) return pick(entry, entry.active, tried);
      let last: 'busy' | null = null;
      for (const targets of inOrder(group.split, sides, version?.isCandidate(group.split) ?? false)) {
        const target = pick(entry, targets, tried);
        if (target !== null && target !== 'busy') return target;
        last = target ?? last;
      }
      return last;
    },
    wait: (id, signal) => {
      const list = waiters.get(id) ?? new Set();
      if (signal.aborted || list.size >= options.waitingPerGroup) return Promise.resolve(false);
      waiters.set(id, list);
      return new Promise((resolve) => {
        const end = (again: boolean): void => {
          cancel();
          signal.removeEventListener('abort', onAbort);
          list.delete(end);
          if (list.size === 0 && waiters.get(id) === list) waiters.delete(id);
          resolve(again);
        };
        const onAbort = (): void => end(false);
        const cancel = clock.timer(options.waitMs, () => end(false));
        signal.addEventListener('abort', onAbort, { once: true });
        list.add(end);
      });
    },
    waiting: () => {
      let count = 0;
      for (const list of waiters.values()) count += list.size;
      return count;
    },
    replace: (groups) => {
      const next = new Map<string, Entry>();
      for (const group of groups) {
        const usable = group.targets.filter((target) => target.state === 'active');
        const active = usable.map(toTarget);
        const sides = group.split === undefined ? null : sidesOf(group.split, usable, toTarget);
        next.set(group.id, { group, active, sides, balancer: entries.get(group.id)?.balancer ?? createRoundRobin() });
      }
      entries = next;
      for (const id of waiters.keys()) {
        const entry = entries.get(id);
        if (entry === undefined || entry.active.length > 0 || entry.group.state !== 'starting') release(id, true);
      }
    },
    targets: () => [...entries.values()].flatMap((entry) => entry.group.targets),
    stop: () => {
      for (const id of waiters.keys()) release(id, false);
    },
  };
}

export function toTarget(target: RouteTarget): Target {
  return { id: target.instanceId, nodeId: target.nodeId, host: target.host, port: target.port };
}
