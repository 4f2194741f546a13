// What is known of one target while it serves: what it has open, how fast it answers, whether it is out. The start and the end of a
// request are arithmetic on fields of this object, which the group hands to the exchange: no look-up and no allocation on the way.

import { createHash } from 'node:crypto';
import { targetKey } from './dial.ts';
import type { Target } from './dial.ts';
import { hashText } from './hash-text.ts';

/** Why a target is left out. */
export type OutReason = 'refused' | 'failed' | 'errors' | 'stalled';

/** What all targets of a group share, and who is told of trouble. */
export interface TargetOwner {
  /** Requests and streams open on all its targets. */
  open: number;
  readonly maxOpen: number;
  readonly maxPending: number;
  readonly slowStartMs: number;
  onRefused(state: TargetState, nowMs: number): void;
  /** The latest of a row of failures; `state.failures` tells how long it is. */
  onFailed(state: TargetState, nowMs: number): void;
  /** An answer that says 5xx. */
  onError(state: TargetState, nowMs: number): void;
  /** An answer of one that is out, to what it got before. */
  onSignOfLife(state: TargetState): void;
}

/**
 * Time in which the weight of an old latency falls to 1/e, as the decay of Finagle's PeakEwma balancer; shorter, since one slow answer
 * of an App that is slow now and then shall not cost it its traffic for a minute.
 */
const DECAY_MS = 5_000;
/** Differences below this are noise: without traffic enough to fill it, a target would go without for one slow turn. */
const LEAST_LATENCY_MS = 5;
/** Taken for the latency of a target that has requests and has answered none yet. */
const UNKNOWN_LATENCY_MS = 1_000;
/** Share of its part that a fresh target begins with. */
const FIRST_WEIGHT = 0.1;
/** Half of the time over which errors are counted. */
const WINDOW_MS = 5_000;
/** A client that leaves sooner says nothing about the target. */
const PATIENCE_MS = 500;
const PATIENCE_LATENCIES = 10;
const OWN_FAULT = 500;

export class TargetState {
  readonly target: Target;
  readonly owner: TargetOwner;
  /** Mixed with the hash of a key to order targets for it. */
  readonly seed: number;
  /** Requests and streams. */
  open = 0;
  /** Requests among them whose answer has not begun. */
  pending = 0;
  out: OutReason | null = null;
  /** Why it was out the last time. */
  wasOut: OutReason | null = null;
  /** It was out, and has to answer one request before it gets more. */
  trial = false;
  /** Grows whenever it goes out or comes back: what began before that says nothing any more. */
  epoch = 0;
  /** Failures in a row. */
  failures = 0;
  /** Times out in a row. */
  ejections = 0;
  /** Answers to what it got before it went out. */
  signs = 0;
  /** When it came back for the last time. */
  backSinceMs = 0;
  /** When errors may be weighed again. */
  weighAgainMs = 0;
  #sinceMs: number;
  #trialTaken = false;
  #latencyMs = 0;
  /** Of the latest answer; below 0: there was none. */
  #sampledMs = -1;
  /** Requests that are with the target whole and have no answer yet. */
  #waiting = 0;
  /** Since when they wait without any answer to one of them. */
  #waitingSinceMs = 0;
  #windowEndMs = 0;
  #answers = 0;
  #errors = 0;
  #oldAnswers = 0;
  #oldErrors = 0;
  #token: string | null = null;

  constructor(target: Target, owner: TargetOwner, nowMs: number) {
    this.target = target;
    this.owner = owner;
    this.seed = hashText(targetKey(target));
    this.#sinceMs = nowMs;
  }

  /** Names the target in a client's cookie: the same on every Edge, and nothing can be read from it. */
  get token(): string {
    this.#token ??= createHash('sha256').update(`sticky\n${this.target.id}`).digest('base64url').slice(0, 22);
    return this.#token;
  }

  /** Whether it may get another request, health apart. */
  get hasRoom(): boolean {
    return this.open < this.owner.maxOpen && this.pending < this.owner.maxPending;
  }

  /** It is tried at the moment: nothing else is sent there before it has answered. */
  get onTrial(): boolean {
    return this.trial && this.#trialTaken;
  }

  /** Share of its full part, above 0 and at most 1. */
  weight(nowMs: number): number {
    const { slowStartMs } = this.owner;
    const age = nowMs - this.#sinceMs;
    return age >= slowStartMs ? 1 : Math.max(FIRST_WEIGHT, age / slowStartMs);
  }

  /**
   * What the next request would meet: the work under way times the time that each takes (Finagle, PeakEwma). The time is at least what
   * the longest silence has lasted, so that a target that hangs is avoided before anything has failed.
   */
  cost(nowMs: number): number {
    // What it has open is of before; it is to be tried, and its weight says how soon.
    if (this.trial) return LEAST_LATENCY_MS;
    let latencyMs = this.#latencyMs * Math.exp((this.#sampledMs - nowMs) / DECAY_MS);
    if (this.#waiting > 0) latencyMs = Math.max(latencyMs, nowMs - this.#waitingSinceMs);
    if (this.#sampledMs < 0 && this.open > 0) latencyMs = Math.max(latencyMs, UNKNOWN_LATENCY_MS);
    return Math.max(latencyMs, LEAST_LATENCY_MS) * (this.open + 1);
  }

  /** How long requests have been waiting without any answer. */
  silenceMs(nowMs: number): number {
    return this.#waiting > 0 ? nowMs - this.#waitingSinceMs : 0;
  }

  /** Latency now, as an average that rises at once and falls slowly. */
  latencyMs(nowMs: number): number {
    return this.#latencyMs * Math.exp((this.#sampledMs - nowMs) / DECAY_MS);
  }

  /** A try begins; the returned epoch is given back with its outcome. */
  begin(): number {
    this.open += 1;
    this.pending += 1;
    this.owner.open += 1;
    if (this.trial) this.#trialTaken = true;
    return this.epoch;
  }

  /** The whole request is with the target. */
  sent(nowMs: number): void {
    if (this.#waiting === 0) this.#waitingSinceMs = nowMs;
    this.#waiting += 1;
  }

  /** A try has no answer to wait for any more; `waited`: `sent` was called for it. */
  leave(waited: boolean): void {
    this.pending -= 1;
    if (waited) this.#waiting -= 1;
  }

  /** The answer of a try has begun. */
  answered(nowMs: number, latencyMs: number, status: number, epoch: number): void {
    this.#waitingSinceMs = nowMs;
    if (epoch !== this.epoch) {
      if (this.out !== null) this.owner.onSignOfLife(this);
      return;
    }
    const kept = Math.exp((this.#sampledMs - nowMs) / DECAY_MS);
    const before = this.#latencyMs * kept;
    this.#latencyMs = latencyMs >= before ? latencyMs : before + latencyMs * (1 - kept);
    this.#sampledMs = nowMs;
    this.failures = 0;
    this.#count(nowMs, status >= OWN_FAULT);
    if (status >= OWN_FAULT) this.owner.onError(this, nowMs);
    // A verdict of onError goes first: it may be out again.
    if (epoch === this.epoch) this.trial = false;
  }

  /** No connection came about. */
  refused(nowMs: number, epoch: number): void {
    if (epoch === this.epoch) this.owner.onRefused(this, nowMs);
  }

  /** A try broke, took too long, or its answer was no HTTP. */
  failed(nowMs: number, epoch: number): void {
    if (epoch !== this.epoch) return;
    this.failures += 1;
    this.#count(nowMs, true);
    this.owner.onFailed(this, nowMs);
  }

  /** A try was given up for reasons of somebody else: the client left after the target had been silent for `waitedMs`. */
  abandoned(nowMs: number, waitedMs: number, epoch: number): void {
    // What it waited for would have come long ago: it did not leave for nothing.
    if (waitedMs >= PATIENCE_MS && waitedMs >= this.latencyMs(nowMs) * PATIENCE_LATENCIES) this.failed(nowMs, epoch);
    else if (epoch === this.epoch) this.#trialTaken = false;
  }

  /** The try is over, after its outcome was told. */
  end(): void {
    this.open -= 1;
    this.owner.open -= 1;
  }

  goOut(reason: OutReason): void {
    this.out = reason;
    this.wasOut = reason;
    this.trial = false;
    this.epoch += 1;
    this.failures = 0;
    this.signs = 0;
    this.ejections += 1;
  }

  comeBack(nowMs: number): void {
    this.out = null;
    this.trial = true;
    this.#trialTaken = false;
    this.epoch += 1;
    this.backSinceMs = nowMs;
    this.#sinceMs = nowMs;
    this.#windowEndMs = 0;
    this.#waitingSinceMs = nowMs;
    // How slow it was before it went out says nothing, and would keep its one request from it for long.
    this.#latencyMs = 0;
    this.#sampledMs = -1;
  }

  /** Answers of the last five to ten seconds. */
  answersNow(nowMs: number): number {
    this.#turnWindow(nowMs);
    return this.#answers + this.#oldAnswers;
  }

  /** Failures and 5xx among them. */
  errorsNow(nowMs: number): number {
    this.#turnWindow(nowMs);
    return this.#errors + this.#oldErrors;
  }

  #count(nowMs: number, error: boolean): void {
    this.#turnWindow(nowMs);
    this.#answers += 1;
    if (error) this.#errors += 1;
  }

  #turnWindow(nowMs: number): void {
    if (nowMs < this.#windowEndMs) return;
    const fresh = nowMs >= this.#windowEndMs + WINDOW_MS;
    this.#oldAnswers = fresh ? 0 : this.#answers;
    this.#oldErrors = fresh ? 0 : this.#errors;
    this.#answers = 0;
    this.#errors = 0;
    this.#windowEndMs = nowMs + WINDOW_MS;
  }
}
