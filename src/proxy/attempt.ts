// The tries of one request as their targets see them: each begins, perhaps is sent whole, has one outcome, and ends. Whatever way an
// exchange takes, what a target counts as open and pending is given back exactly once.

import type { Clock } from '../lib/clock.ts';
import type { TargetState } from './target-state.ts';

export class Attempt {
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
