// The targets among which requests are spread: picks one for a try, bounds what is open, ejects what fails, pays for retries. One slow or
// broken group takes from the proxy no more than its bounds.

import type { Clock } from '../lib/clock.ts';
import { cookieOf } from '../model/traffic-split.ts';
import { DEFAULT_TRAFFIC } from '../model/traffic-policy.ts';
import type { TrafficPolicy } from '../model/traffic-policy.ts';
import { Turn, pickByKey, pickByToken, pickLeast } from './balance.ts';
import type { PickInput, Tried } from './balance.ts';
import { targetKey } from './dial.ts';
import type { Target } from './dial.ts';
import { hashText } from './hash-text.ts';
import type { Retries } from './exchange.ts';
import { GroupHealth } from './health.ts';
import type { Probe } from './probe.ts';
import { RetryBudget } from './retry-budget.ts';
import { TargetState } from './target-state.ts';
import type { OutReason, TargetOwner } from './target-state.ts';

/** Of a request: what a hash or a sticky cookie is read from. */
export interface PickFacts {
  /** All values of a lower-case name as one text. */
  header(name: string): string | undefined;
  /** The client came by TLS. */
  readonly secure: boolean;
}

export interface TargetGroupDeps {
  readonly clock: Clock;
  readonly probe: Probe;
  /** Evenly from 0 to below 1. */
  readonly random: () => number;
  /** Requests and streams open on the whole group. */
  readonly maxGroupOpen: number;
  /** The same on one target, whatever its policy says. */
  readonly maxTargetOpen: number;
  readonly onEjected: (state: TargetState, reason: OutReason) => void;
  readonly onBack: (state: TargetState) => void;
}

export class TargetGroup implements TargetOwner {
  open = 0;
  maxOpen = 0;
  maxPending = 0;
  slowStartMs = 0;
  retries: Retries;
  readonly #deps: TargetGroupDeps;
  readonly #health: GroupHealth;
  #turn: Turn | null = null;
  readonly #input: { tried: Tried; nowMs: number; readonly random: () => number };
  #policy: TrafficPolicy = DEFAULT_TRAFFIC;
  /** Those that drain included. */
  #states: readonly TargetState[] = [];

  constructor(deps: TargetGroupDeps) {
    this.#deps = deps;
    this.#health = new GroupHealth(deps);
    this.#input = { tried: null, nowMs: 0, random: deps.random };
    this.retries = { policy: DEFAULT_TRAFFIC.retries, budget: new RetryBudget(0) };
    this.configure(DEFAULT_TRAFFIC, null);
  }

  get policy(): TrafficPolicy {
    return this.#policy;
  }

  /** Comes before `use`. */
  configure(policy: TrafficPolicy, healthPath: string | null): void {
    this.#policy = policy;
    // Over HTTP/1.1 every request has a connection to itself.
    const maxOpen = policy.protocol === 'http1' ? Math.min(policy.maxOpen, policy.maxConnections) : policy.maxOpen;
    this.maxOpen = Math.min(maxOpen, this.#deps.maxTargetOpen);
    this.maxPending = policy.maxPending;
    this.slowStartMs = policy.slowStartMs;
    const { budget } = this.retries;
    budget.percent = policy.retries.budgetPercent;
    this.retries = { policy: policy.retries, budget };
    this.#health.policy = policy.eject;
    this.#health.healthPath = healthPath;
  }

  /**
   * Puts the targets in use. What is known of one that was there before stays; `draining` ones get nothing new, and are known again if
   * they come back. Returns the states of `active`, in order.
   */
  use(active: readonly Target[], draining: readonly Target[]): readonly TargetState[] {
    const known = new Map(this.#states.map((state) => [targetKey(state.target), state]));
    const nowMs = this.#deps.clock.monotonic();
    const stateOf = (target: Target): TargetState => known.get(targetKey(target)) ?? new TargetState(target, this, nowMs);
    const used = active.map(stateOf);
    this.#states = draining.length === 0 ? used : used.concat(draining.map(stateOf));
    this.#health.use(used);
    return used;
  }

  /** One of `states`, which are of this group; `busy` where those that are left have no room, null where none is left. */
  pick(states: readonly TargetState[], facts: PickFacts, tried: Tried): TargetState | 'busy' | null {
    const nowMs = this.#deps.clock.monotonic();
    if (this.open >= this.#deps.maxGroupOpen) return states.length === 0 ? null : 'busy';
    this.#health.look(nowMs);
    const input = this.#input;
    input.tried = tried;
    input.nowMs = nowMs;
    const picked = this.#balance(states, facts, input) ?? lastResort(states, tried);
    input.tried = null;
    return picked;
  }

  /** The Set-Cookie value that makes the client's next request come to the same target; null: it does already, or nobody asked for it. */
  stickyCookie(state: TargetState, facts: PickFacts): string | null {
    const { balance } = this.#policy;
    if (balance.kind !== 'sticky' || cookieOf(facts.header('cookie'), balance.cookie) === state.token) return null;
    return `${balance.cookie}=${state.token}; Path=/; HttpOnly; SameSite=Lax${facts.secure ? '; Secure' : ''}`;
  }

  ejected(): readonly TargetState[] {
    return this.#health.ejected();
  }

  onRefused(state: TargetState, nowMs: number): void {
    this.#health.refused(state, nowMs);
  }

  onFailed(state: TargetState, nowMs: number): void {
    this.#health.failed(state, nowMs);
  }

  onError(state: TargetState, nowMs: number): void {
    this.#health.error(state, nowMs);
  }

  onSignOfLife(state: TargetState): void {
    this.#health.signOfLife(state);
  }

  stop(): void {
    this.#health.stop();
  }

  #balance(states: readonly TargetState[], facts: PickFacts, input: PickInput): TargetState | null {
    const { balance } = this.#policy;
    switch (balance.kind) {
      case 'least':
        return pickLeast(states, input);
      case 'round-robin':
        this.#turn ??= new Turn();
        return this.#turn.pick(states, input);
      case 'hash': {
        const { kind, name } = balance.by;
        const key = kind === 'header' ? facts.header(name) : cookieOf(facts.header('cookie'), name);
        return key === undefined || key === '' ? pickLeast(states, input) : pickByKey(states, hashText(key), input.tried);
      }
      case 'sticky': {
        const token = cookieOf(facts.header('cookie'), balance.cookie);
        return (token === undefined ? null : pickByToken(states, token, input.tried)) ?? pickLeast(states, input);
      }
    }
  }
}

/**
 * Where none takes one: one that is out is better than none at all, since being out is only an opinion. But only for a first try, or
 * where it costs no more than a refused connection.
 */
function lastResort(states: readonly TargetState[], tried: Tried): TargetState | 'busy' | null {
  let best: TargetState | null = null;
  let full = false;
  for (const state of states) {
    if (tried?.has(state) === true) continue;
    if (!state.hasRoom || (state.out === null && !state.trial)) full = true;
    else if ((tried === null || state.out === 'refused') && (best === null || state.open < best.open)) best = state;
  }
  return full ? 'busy' : best;
}
