// A developer's laptop as a target beside those of its group: asked first for what is its, and never weighed against the others, so that
// nothing that it does costs them anything, and no failure of its own hides it.

import type { RouteSession } from '../api/dataplane.ts';
import { DEFAULT_TRAFFIC } from '../model/traffic-policy.ts';
import type { TrafficPolicy } from '../model/traffic-policy.ts';
import type { Tried } from '../proxy/balance.ts';
import { targetKey } from '../proxy/dial.ts';
import type { Target } from '../proxy/dial.ts';
import type { Retries } from '../proxy/exchange.ts';
import { RetryBudget } from '../proxy/retry-budget.ts';
import { TargetGroup } from '../proxy/target-group.ts';
import type { PickFacts, TargetGroupDeps } from '../proxy/target-group.ts';
import type { TargetState } from '../proxy/target-state.ts';

/** Somebody may sit at a breakpoint meanwhile. */
const PATIENCE_MS = 3_600_000;

export class LiveSession {
  session: RouteSession;
  /** What fails here may be tried at what is deployed. */
  retries: Retries;
  readonly #targets: TargetGroup;
  readonly #budget = new RetryBudget(100);
  #states: readonly TargetState[] = [];
  #target: Target | null = null;

  constructor(session: RouteSession, policy: TrafficPolicy, deps: TargetGroupDeps) {
    this.session = session;
    this.#targets = new TargetGroup(deps);
    this.retries = { policy: DEFAULT_TRAFFIC.retries, budget: this.#budget };
    this.apply(session, policy);
  }

  /** Gives the target that it had, where it has that no more. */
  apply(session: RouteSession, policy: TrafficPolicy): Target | null {
    const before = this.#target;
    this.session = session;
    const attempts = Math.max(2, policy.retries.attempts);
    this.retries = { policy: { ...policy.retries, attempts, perTryMs: 0 }, budget: this.#budget, answerMs: PATIENCE_MS };
    this.#targets.configure({ ...policy, eject: null, slowStartMs: 0, balance: DEFAULT_TRAFFIC.balance }, null);
    this.#target = session.target === null ? null : targetOf(session.id, session.target, policy);
    this.#states = this.#targets.use(this.#target === null ? [] : [this.#target], []);
    const isSame = before !== null && this.#target !== null && targetKey(before) === targetKey(this.#target);
    return isSame ? null : before;
  }

  /** For a request that is its; null: it cannot have it now. */
  pick(facts: PickFacts, tried: Tried): TargetState | null {
    const picked = this.#targets.pick(this.#states, facts, tried);
    return picked === 'busy' ? null : picked;
  }

  close(): Target | null {
    this.#targets.stop();
    return this.#target;
  }
}

function targetOf(id: string, { nodeId, host, port, via }: NonNullable<RouteSession['target']>, policy: TrafficPolicy): Target {
  const made = { id, nodeId, host, port, greets: true, ...(via === undefined ? {} : { via, generation: 0 }) };
  return policy.protocol === 'http1' ? made : { ...made, protocol: policy.protocol, maxConnections: policy.maxConnections };
}
