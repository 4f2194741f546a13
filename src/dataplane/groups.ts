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
import type { PickFacts, TargetGroupDeps } from '../proxy/target-group.ts';
import type { OutReason, TargetState } from '../proxy/target-state.ts';
import { LiveSession } from './live-session.ts';
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
  /** The laptop that requests with this key go to; null: none stands in for them. */
  session(key: string | null): LiveSession | null;
}

export interface Groups {
  get(id: string): LiveGroup | null;
  /** Resolves when the group has changed so that asking again makes sense, or with false: time is over, or too many wait. */
  wait(id: string, signal: AbortSignal): Promise<boolean>;
  waiting(): number;
  /** Puts groups into force and takes others out; gives the targets that get no new requests from now on. */
  change(put: readonly RouteGroup[], remove: readonly string[]): readonly Target[];
  /** Every target that finishes what it has. */
  draining(): readonly RouteTarget[];
  /** Ids of targets that are left out now. */
  ejected(): string[];
  /** Some laptop stands in for one of them. */
  readonly haveSessions: boolean;
  stop(): void;
}

export interface GroupsOptions {
  readonly clock: Clock;
  readonly probe: Probe;
  readonly openPerTarget: number;
  readonly openPerGroup: number;
  readonly waitMs: number;
  readonly waitingPerGroup: number;
  /** `reason` null: it is back. */
  readonly onEjected?: (group: RouteGroup, targetId: string, reason: OutReason | null) => void;
}

class Entry implements LiveGroup {
  readonly targets: TargetGroup;
  group: RouteGroup;
  /** In use for new requests. */
  active: readonly TargetState[] = [];
  draining: readonly RouteTarget[] = [];
  #sides: SplitSides<TargetState> | null = null;
  /** By id; null: there are none, as in most groups. */
  #sessions: ReadonlyMap<string, LiveSession> | null = null;
  readonly #deps: TargetGroupDeps;

  constructor(group: RouteGroup, options: GroupsOptions, random: () => number) {
    this.group = group;
    this.#deps = {
      clock: options.clock,
      probe: options.probe,
      random,
      maxGroupOpen: options.openPerGroup,
      maxTargetOpen: options.openPerTarget,
      onEjected: (state, reason) => options.onEjected?.(this.group, state.target.id, reason),
      onBack: (state) => options.onEjected?.(this.group, state.target.id, null),
    };
    this.targets = new TargetGroup(this.#deps);
    this.apply(group);
  }

  get hasSessions(): boolean {
    return this.#sessions !== null;
  }

  session(key: string | null): LiveSession | null {
    if (this.#sessions === null) return null;
    const nowMs = this.#deps.clock.now();
    let all: LiveSession | null = null;
    for (const live of this.#sessions.values()) {
      const { session } = live;
      if (session.expiresAtMs <= nowMs) continue;
      if (session.mode === 'replace') all = live;
      else if (session.key === key) return live;
    }
    return all;
  }

  #applySessions({ sessions = [] }: RouteGroup, policy: TrafficPolicy): readonly Target[] {
    const before = this.#sessions;
    if (sessions.length === 0 && before === null) return [];
    const gone: Target[] = [];
    const now = new Map<string, LiveSession>();
    for (const session of sessions) {
      const known = before?.get(session.id);
      const left = known?.apply(session, policy) ?? null;
      if (left !== null) gone.push(left);
      now.set(session.id, known ?? new LiveSession(session, policy, this.#deps));
    }
    for (const [id, live] of before ?? []) {
      const left = now.has(id) ? null : live.close();
      if (left !== null) gone.push(left);
    }
    this.#sessions = now.size === 0 ? null : now;
    return gone;
  }

  /** Gives the targets that were in use and are no more. */
  apply(group: RouteGroup): readonly Target[] {
    const before = this.active;
    const policy = group.policy ?? DEFAULT_TRAFFIC;
    const usable = group.targets.filter((target) => target.state === 'active');
    this.draining = group.targets.filter((target) => target.state === 'draining');
    const make = (target: RouteTarget): Target => toTarget(target, policy);
    this.group = group;
    this.targets.configure(policy, group.healthPath ?? null);
    this.active = this.targets.use(usable.map(make), this.draining.map(make));
    // As `use` gives them: in the order of `usable`.
    const states = new Map(usable.map((target, index) => [target, this.active[index]]));
    const sides = group.split === undefined ? null : sidesOf(group.split, usable, (target) => states.get(target) ?? null);
    this.#sides = sides === null ? null : { candidate: sides.candidate.filter(isState), main: sides.main.filter(isState) };
    const now = new Set(this.active);
    const left = before.filter((state) => !now.has(state)).map((state) => state.target);
    return [...left, ...this.#applySessions(group, policy)];
  }

  /** Gives the targets that were in use. */
  close(): readonly Target[] {
    const before = this.active;
    this.active = [];
    this.draining = [];
    this.#sides = null;
    this.targets.stop();
    return [...before.map((state) => state.target), ...this.#applySessions({ ...this.group, sessions: [] }, DEFAULT_TRAFFIC)];
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
  const entries = new Map<string, Entry>();
  /** Those that have targets which drain. */
  const draining = new Set<Entry>();
  const withSessions = new Set<Entry>();
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
    change: (put, remove) => {
      const gone: Target[] = [];
      const note = (entry: Entry): void => {
        if (entry.draining.length > 0) draining.add(entry);
        else draining.delete(entry);
        if (entry.hasSessions) withSessions.add(entry);
        else withSessions.delete(entry);
      };
      for (const id of remove) {
        const entry = entries.get(id);
        if (entry === undefined) continue;
        entries.delete(id);
        gone.push(...entry.close());
        note(entry);
      }
      for (const group of put) {
        const known = entries.get(group.id);
        const entry = known ?? new Entry(group, options, random);
        if (known === undefined) entries.set(group.id, entry);
        else gone.push(...entry.apply(group));
        note(entry);
      }
      for (const id of waiters.keys()) {
        const entry = entries.get(id);
        if (entry === undefined || entry.active.length > 0 || entry.group.state !== 'starting') release(id, true);
      }
      return gone;
    },
    draining: () => [...draining].flatMap((entry) => entry.draining),
    ejected: () => [...entries.values()].flatMap((entry) => entry.targets.ejected().map((state) => state.target.id)),
    get haveSessions() {
      return withSessions.size > 0;
    },
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
  const { instanceId: id, nodeId, host, port, generation, via, deploymentNumber } = target;
  const version = deploymentNumber === undefined ? '' : String(deploymentNumber);
  const made = { id, nodeId, host, port, version, ...(via === undefined ? {} : { via, generation: generation ?? 0 }) };
  return policy.protocol === 'http1' ? made : { ...made, protocol: policy.protocol, maxConnections: policy.maxConnections };
}
