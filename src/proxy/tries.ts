// The tries of one request: which targets had one, whether there may be another, and what each target is told of its own. A try begins,
// perhaps is sent whole, has one outcome, and ends; whatever way an exchange takes, what its target counts as open and pending is given
// back exactly once.

import type { Clock } from '../lib/clock.ts';
import type { Exchange } from './exchange.ts';
import type { TargetState } from './target-state.ts';

export class Tries {
  #tried: Set<TargetState> | null = null;
  #state: TargetState | null = null;
  #epoch = 0;
  #beganMs = 0;
  /** Below 0: the target has not got the whole request yet. */
  #sentMs = -1;
  /** The answer has begun, or there will be none. */
  #settled = true;

  /** Target of the try that is under way. */
  get state(): TargetState | null {
    return this.#state;
  }

  /** A target for the next try: for the first one whoever is there, then one that is paid for. `busy` only for the first. */
  next(exchange: Exchange, nowMs: number): TargetState | 'busy' | null {
    if (this.#tried !== null) return this.#another(exchange, this.#tried, nowMs);
    const state = exchange.next(null);
    exchange.retries().budget.onRequest(nowMs);
    return state;
  }

  /** Takes the try that is under way for a failed one, where another target is there for it; it has not ended by that. */
  insteadOf(exchange: Exchange, nowMs: number): TargetState | null {
    const tried = new Set(this.#tried);
    if (this.#state !== null) tried.add(this.#state);
    const other = this.#another(exchange, tried, nowMs);
    if (other !== null) this.#tried = tried;
    return other;
  }

  /** The target of the try that is under way is not tried again. */
  giveUpTarget(): void {
    if (this.#state === null) return;
    this.#tried ??= new Set();
    this.#tried.add(this.#state);
  }

  #another(exchange: Exchange, tried: ReadonlySet<TargetState>, nowMs: number): TargetState | null {
    const { policy, budget } = exchange.retries();
    // Before a target is chosen: a choice that comes to nothing would be some other request's.
    if (tried.size >= policy.attempts || !budget.mayRetry(nowMs)) return null;
    const state = exchange.next(tried);
    if (state !== null && state !== 'busy') return state;
    budget.giveBack();
    return null;
  }

  begin(state: TargetState, nowMs: number): void {
    this.#state = state;
    this.#epoch = state.begin();
    this.#beganMs = nowMs;
    this.#sentMs = -1;
    this.#settled = false;
  }

  sent(nowMs: number): void {
    if (this.#settled || this.#sentMs >= 0) return;
    this.#sentMs = nowMs;
    this.#state?.sent(nowMs);
  }

  answered(nowMs: number, status: number): void {
    const latencyMs = nowMs - (this.#sentMs < 0 ? this.#beganMs : this.#sentMs);
    if (this.#settle()) this.#state?.answered(nowMs, latencyMs, status, this.#epoch);
  }

  refused(nowMs: number): void {
    if (this.#settle()) this.#state?.refused(nowMs, this.#epoch);
  }

  /** Also after the answer had begun. */
  failed(nowMs: number): void {
    this.#settle();
    this.#state?.failed(nowMs, this.#epoch);
  }

  /** Where no outcome was told, the try was given up. */
  end(clock: Clock): void {
    const state = this.#state;
    if (state === null) return;
    if (this.#settle()) {
      const nowMs = clock.monotonic();
      state.abandoned(nowMs, this.#sentMs < 0 ? 0 : nowMs - this.#sentMs, this.#epoch);
    }
    state.end();
    this.#state = null;
  }

  /** True the first time. */
  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    this.#state?.leave(this.#sentMs >= 0);
    return true;
  }
}
