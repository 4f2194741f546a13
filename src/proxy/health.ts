// Which targets of a group are left out for a while, by what happened to requests (Envoy calls this outlier detection): refused
// connections, failures in a row, far more errors than the others, silence. Never all of them; out for longer each time; and back only
// by a probe, then one request, then slowly more.

import type { Clock } from '../lib/clock.ts';
import type { EjectPolicy } from '../model/traffic-policy.ts';
import type { Probe } from './probe.ts';
import type { OutReason, TargetState } from './target-state.ts';

const FIRST_REFUSED_MS = 500;
const LONGEST_REFUSED_MS = 10_000;
const LONGEST_MS = 60_000;
/** In service for so long, it begins anew with the shortest time out. */
const FORGET_MS = 60_000;
const FORGET_REFUSED_MS = 10_000;
/** Answers that a share of errors is worth looking at. */
const LEAST_ANSWERS = 20;
/** The same targets are not compared more often. */
const WEIGH_EVERY_MS = 100;
const LOOK_EVERY_MS = 250;

const NONE: ReadonlyMap<TargetState, () => void> = new Map();

export interface GroupHealthDeps {
  readonly clock: Clock;
  readonly probe: Probe;
  readonly onEjected: (state: TargetState, reason: OutReason) => void;
  readonly onBack: (state: TargetState) => void;
}

export class GroupHealth {
  policy: EjectPolicy | null = null;
  healthPath: string | null = null;
  readonly #deps: GroupHealthDeps;
  /** Those in use; a target of another list is never touched. */
  #states: readonly TargetState[] = [];
  /** How the wait for the next look at an ejected target is cancelled. */
  #waiting: Map<TargetState, () => void> | null = null;
  #lookAgainMs = 0;

  constructor(deps: GroupHealthDeps) {
    this.#deps = deps;
  }

  /** Puts another list in use. States that are in both go on as they were. */
  use(states: readonly TargetState[]): void {
    this.#states = states;
    for (const [state, cancel] of this.#waiting ?? NONE) {
      if (states.includes(state)) continue;
      cancel();
      this.#waiting?.delete(state);
      state.out = null;
    }
    if (this.policy === null) for (const state of states) state.trial = false;
  }

  refused(state: TargetState, nowMs: number): void {
    this.#eject(state, 'refused', nowMs);
  }

  failed(state: TargetState, nowMs: number): void {
    const { policy } = this;
    if (policy === null || state.out !== null) return;
    if (state.trial || (policy.failures > 0 && state.failures >= policy.failures)) this.#eject(state, 'failed', nowMs);
    else this.#weigh(state, policy, nowMs);
  }

  error(state: TargetState, nowMs: number): void {
    const { policy } = this;
    if (policy === null || state.out !== null) return;
    if (state.trial && state.wasOut === 'errors' && policy.errorsPercent > 0) this.#eject(state, 'errors', nowMs);
    else this.#weigh(state, policy, nowMs);
  }

  /** One that was silent is heard again: it is looked at now instead of later. */
  signOfLife(state: TargetState): void {
    const cancel = this.#waiting?.get(state);
    if (state.out !== 'stalled' || cancel === undefined || state.signs > 0) return;
    state.signs += 1;
    cancel();
    void this.#lookAt(state, 'stalled');
  }

  /** Finds targets that have fallen silent. Cheap enough to be called for every request. */
  look(nowMs: number): void {
    if (nowMs < this.#lookAgainMs) return;
    this.#lookAgainMs = nowMs + LOOK_EVERY_MS;
    const stallMs = this.policy?.stallMs ?? 0;
    if (stallMs === 0) return;
    for (const state of this.#states) {
      if (state.out === null && state.silenceMs(nowMs) >= stallMs && this.#someAnswer(state, stallMs, nowMs)) {
        this.#eject(state, 'stalled', nowMs);
      }
    }
  }

  ejected(): readonly TargetState[] {
    return this.#states.filter((state) => state.out !== null);
  }

  stop(): void {
    for (const cancel of this.#waiting?.values() ?? []) cancel();
    this.#waiting = null;
  }

  /** An App that hangs as a whole is not made better by taking parts of it away. */
  #someAnswer(silent: TargetState, stallMs: number, nowMs: number): boolean {
    return this.#states.some(
      (state) => state !== silent && state.out === null && state.answersNow(nowMs) > 0 && state.silenceMs(nowMs) < stallMs / 2,
    );
  }

  /** Ejects a target that has a large share of errors where the others have not. */
  #weigh(state: TargetState, policy: EjectPolicy, nowMs: number): void {
    if (policy.errorsPercent === 0 || nowMs < state.weighAgainMs) return;
    const answers = state.answersNow(nowMs);
    if (answers < LEAST_ANSWERS || (state.errorsNow(nowMs) / answers) * 100 < policy.errorsPercent) return;
    state.weighAgainMs = nowMs + WEIGH_EVERY_MS;
    let others = 0;
    let errors = 0;
    for (const other of this.#states) {
      if (other === state || other.out !== null) continue;
      others += other.answersNow(nowMs);
      errors += other.errorsNow(nowMs);
    }
    if (others >= LEAST_ANSWERS / 2 && (errors / others) * 100 < policy.errorsPercent / 2) this.#eject(state, 'errors', nowMs);
  }

  #eject(state: TargetState, reason: OutReason, nowMs: number): void {
    if (state.out !== null) return;
    if (!this.#mayEject(reason) || !this.#states.includes(state)) {
      // It cannot be spared, so it is not on trial either.
      state.trial = false;
      return;
    }
    if (!state.trial && nowMs - state.backSinceMs >= (reason === 'refused' ? FORGET_REFUSED_MS : FORGET_MS)) state.ejections = 0;
    state.goOut(reason);
    this.#wait(state, reason);
    this.#deps.onEjected(state, reason);
  }

  /** A refused connection is certain knowledge, all else a suspicion that may be wrong for a whole App at once. */
  #mayEject(reason: OutReason): boolean {
    const all = this.#states.length;
    const share = this.policy?.sharePercent ?? 0;
    const most = reason === 'refused' ? all - 1 : share === 0 ? 0 : Math.min(all - 1, Math.max(1, Math.floor((all * share) / 100)));
    let out = 0;
    for (const state of this.#states) if (state.out !== null) out += 1;
    return out < most;
  }

  #wait(state: TargetState, reason: OutReason): void {
    const firstMs = reason === 'refused' ? FIRST_REFUSED_MS : (this.policy?.firstMs ?? FIRST_REFUSED_MS);
    const longestMs = reason === 'refused' ? LONGEST_REFUSED_MS : Math.max(firstMs, LONGEST_MS);
    const ms = Math.min(longestMs, firstMs * 2 ** Math.min(state.ejections - 1, 20));
    this.#waiting ??= new Map();
    this.#waiting.set(
      state,
      this.#deps.clock.timer(ms, () => void this.#lookAt(state, reason)),
    );
  }

  async #lookAt(state: TargetState, reason: OutReason): Promise<void> {
    // What refused connections and now takes them is back; what failed otherwise has to say that it is well.
    const path = reason === 'refused' ? null : this.healthPath;
    const { epoch } = state;
    const alive = await this.#deps.probe(state.target, path);
    if (this.#waiting?.has(state) !== true || state.epoch !== epoch) return;
    if (alive) {
      this.#waiting.delete(state);
      state.comeBack(this.#deps.clock.monotonic());
      if (this.policy === null) state.trial = false;
      this.#deps.onBack(state);
    } else {
      state.ejections += 1;
      this.#wait(state, reason);
    }
  }
}
