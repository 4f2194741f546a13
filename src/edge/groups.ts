// The groups of the table in force, ready to be asked for a target, and the requests that wait for one. A group and the states of its
// targets live as long as they are in the table, whatever else changes in it. Waiting is bounded in number and time, and ends in the
// order in which it began.

import type { RouteGroup, RouteTarget } from '../api/dataplane.ts';
import type { Clock } from '../lib/clock.ts';
import { createSeededRandom, systemRandom } from '../lib/id.ts';
import { DEFAULT_TRAFFIC } from '../model/traffic-policy.ts';
import type { TrafficPolicy } from '../model/traffic-policy.ts';
import type { Tried } from '../proxy/balance.ts';
import type { Target } from '../proxy/dial.ts';
import type { Probe } from '../proxy/probe.ts';
import { TargetGroup } from '../proxy/target-group.ts';
import type { PickFacts } from '../proxy/target-group.ts';
import type { OutReason, TargetState } from '../proxy/target-state.ts';
import { inOrder, sidesOf } from './versions.ts';
import type { SplitSides, VersionChoice } from './versions.ts';

/** A group as requests meet it. It stays the same object over changes of the table. */
export interface LiveGroup {
  /** As the table says now, or said last. */
  readonly group: RouteGroup;
  readonly targets: TargetGroup;
  /**
   * A target for the next try: of the version that was chosen, then of the other. `busy` where those that are left have no room. Without
   * a choice: never the candidate.
   */
  pick(facts: PickFacts, tried: Tried, version?: VersionChoice): TargetState | 'busy' | null;
}

export interface Groups {
  get(id: string): LiveGroup | null;
  /** Resolves when the group has changed so that asking again makes sense, or with false: time is over, or too many wait. */
  wait(id: string, signal: AbortSignal): Promise<boolean>;
  waiting(): number;
  replace(groups: readonly RouteGroup[]): void;
  /** Every target of every group, draining ones included. */
  targets(): readonly RouteTarget[];
  /** Those that get new requests. */
  active(): readonly Target[];
  /** Ids of targets that are left out now. */
  ejected(): string[];
  stop(): void;
}

export interface GroupsOptions {
  readonly clock: Clock;
  readonly probe: Probe;
  readonly openPerTarget: number;
  readonly openPerGroup: number;
  readonly waitMs: number;
  readonly waitingPerGroup: number;
  readonly onEjected?: (group: RouteGroup, targetId: string, reason: OutReason) => void;
}

class Entry implements LiveGroup {
  readonly targets: TargetGroup;
  group: RouteGroup;
  /** In use for new requests. */
  active: readonly TargetState[] = [];
  #sides: SplitSides<TargetState> | null = null;

  constructor(group: RouteGroup, options: GroupsOptions, random: () => number) {
    this.group = group;
    this.targets = new TargetGroup({
      clock: options.clock,
      probe: options.probe,
      random,
      maxGroupOpen: options.openPerGroup,
      maxTargetOpen: options.openPerTarget,
      onEjected: (state, reason) => options.onEjected?.(this.group, state.target.id, reason),
    });
    this.apply(group);
  }

  apply(group: RouteGroup): void {
    const policy = group.policy ?? DEFAULT_TRAFFIC;
    const usable = group.targets.filter((target) => target.state === 'active');
    const draining = group.targets.filter((target) => target.state === 'draining');
    const make = (target: RouteTarget): Target => toTarget(target, policy);
    this.group = group;
    this.targets.configure(policy, group.healthPath ?? null);
    this.active = this.targets.use(usable.map(make), draining.map(make));
    // As `use` gives them: in the order of `usable`.
    const states = new Map(usable.map((target, index) => [target, this.active[index]]));
    const sides = group.split === undefined ? null : sidesOf(group.split, usable, (target) => states.get(target) ?? null);
    this.#sides = sides === null ? null : { candidate: sides.candidate.filter(isState), main: sides.main.filter(isState) };
  }

  close(): void {
    this.active = [];
    this.#sides = null;
    this.targets.stop();
  }

  pick(facts: PickFacts, tried: Tried, version?: VersionChoice): TargetState | 'busy' | null {
    const { split } = this.group;
    const sides = this.#sides;
    if (sides === null || split === undefined) return this.targets.pick(this.active, facts, tried);
    let last: 'busy' | null = null;
    for (const states of inOrder(split, sides, version?.isCandidate(split) ?? false)) {
      const state = this.targets.pick(states, facts, tried);
      if (state !== null && state !== 'busy') return state;
      last = state ?? last;
    }
    return last;
  }
}

export function createGroups(options: GroupsOptions): Groups {
  const { clock } = options;
  let entries = new Map<string, Entry>();
  const waiters = new Map<string, Set<(again: boolean) => void>>();
  const [a = 0, b = 0, c = 0, d = 0] = systemRandom.bytes(4);
  const source = createSeededRandom((a << 24) | (b << 16) | (c << 8) | d);
  const random = (): number => source.next();

  const release = (id: string, again: boolean): void => {
    const list = waiters.get(id);
    if (list === undefined) return;
    waiters.delete(id);
    for (const resolve of list) resolve(again);
  };

  return {
    get: (id) => entries.get(id) ?? null,
    wait: (id, signal) => {
      const list = waiters.get(id) ?? new Set();
      if (signal.aborted || !entries.has(id) || list.size >= options.waitingPerGroup) return Promise.resolve(false);
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
        const entry = entries.get(group.id);
        if (entry === undefined) next.set(group.id, new Entry(group, options, random));
        else {
          next.set(group.id, entry);
          // A change of one App costs the others nothing.
          if (entry.group !== group) entry.apply(group);
        }
      }
      for (const [id, entry] of entries) if (!next.has(id)) entry.close();
      entries = next;
      for (const id of waiters.keys()) {
        const entry = entries.get(id);
        if (entry === undefined || entry.active.length > 0 || entry.group.state !== 'starting') release(id, true);
      }
    },
    targets: () => [...entries.values()].flatMap((entry) => entry.group.targets),
    active: () => [...entries.values()].flatMap((entry) => entry.active.map((state) => state.target)),
    ejected: () => [...entries.values()].flatMap((entry) => entry.targets.ejected().map((state) => state.target.id)),
    stop: () => {
      for (const id of waiters.keys()) release(id, false);
      for (const entry of entries.values()) entry.targets.stop();
    },
  };
}

function isState(state: TargetState | null): state is TargetState {
  return state !== null;
}

/** The policy says how a target is spoken to. */
function toTarget(target: RouteTarget, policy: TrafficPolicy): Target {
  const { instanceId: id, nodeId, host, port, deploymentNumber } = target;
  const version = deploymentNumber === undefined ? '' : String(deploymentNumber);
  if (policy.protocol === 'http1') return { id, nodeId, host, port, version };
  return { id, nodeId, host, port, version, protocol: policy.protocol, maxConnections: policy.maxConnections };
}
