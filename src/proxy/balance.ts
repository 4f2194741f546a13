// Which target gets the next request. Pure but for the random numbers, and without allocation: these run once per try. A target that is
// out, full, or was tried already is never picked; a fresh one only as often as its weight says.

import { mix } from './hash-text.ts';
import type { TargetState } from './target-state.ts';

/** Targets that this request has tried; null: none. */
export type Tried = ReadonlySet<TargetState> | null;

export interface PickInput {
  readonly tried: Tried;
  readonly nowMs: number;
  /** Evenly from 0 to below 1. */
  readonly random: () => number;
}

function takes(state: TargetState, tried: Tried): boolean {
  return state.out === null && !state.onTrial && state.hasRoom && (tried === null || !tried.has(state));
}

/**
 * What a request there would cost. For a fresh target that is its true cost as often as its weight says, and else many times that: so it
 * gets its part of the requests slowly, and all of them where the other one hangs.
 */
function costNow(state: TargetState, { nowMs, random }: PickInput): number {
  const weight = state.weight(nowMs);
  const cost = state.cost(nowMs);
  return weight >= 1 || random() < weight ? cost : cost / weight;
}

/**
 * The better of two that are drawn (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 1996): nearly as even as the
 * best of all, and several Edges that see the same do not all run to the same target.
 */
export function pickLeast(states: readonly TargetState[], input: PickInput): TargetState | null {
  const count = states.length;
  if (count > 1) {
    const first = Math.floor(input.random() * count);
    const second = (first + 1 + Math.floor(input.random() * (count - 1))) % count;
    const a = states[first];
    const b = states[second];
    if (a !== undefined && b !== undefined) {
      const takesA = takes(a, input.tried);
      const takesB = takes(b, input.tried);
      if (takesA && takesB) return costNow(a, input) <= costNow(b, input) ? a : b;
      if (takesA) return a;
      if (takesB) return b;
    }
  }
  return pickBest(states, input);
}

/** The best of all that take one; where equals are, any. */
function pickBest(states: readonly TargetState[], input: PickInput): TargetState | null {
  const count = states.length;
  const start = count > 1 ? Math.floor(input.random() * count) : 0;
  let best: TargetState | null = null;
  let bestCost = Infinity;
  for (let step = 0; step < count; step += 1) {
    const state = states[(start + step) % count];
    if (state === undefined || !takes(state, input.tried)) continue;
    const cost = costNow(state, input);
    if (cost < bestCost) {
      best = state;
      bestCost = cost;
    }
  }
  return best;
}

/** Each in turn; a list that changes in between neither skips far nor starts over. */
export class Turn {
  #next = 0;

  pick(states: readonly TargetState[], input: PickInput): TargetState | null {
    const count = states.length;
    for (let step = 0; step < count; step += 1) {
      const state = states[(this.#next + step) % count];
      if (state === undefined || !takes(state, input.tried) || this.#passesOver(state, states, input)) continue;
      this.#next = (this.#next + step + 1) % count;
      return state;
    }
    return pickBest(states, input);
  }

  /** A fresh target gets its turn as often as its weight says; where all are fresh there is nobody to spare it for. */
  #passesOver(state: TargetState, states: readonly TargetState[], { nowMs, random }: PickInput): boolean {
    const weight = state.weight(nowMs);
    if (weight >= 1) return false;
    let heaviest = weight;
    for (const other of states) heaviest = Math.max(heaviest, other.weight(nowMs));
    return random() * heaviest >= weight;
  }
}

/**
 * The target that a key belongs to: the highest score of all (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates",
 * 1998). When targets come or go, only the keys of those move; one that is out hands its keys to all others evenly.
 */
export function pickByKey(states: readonly TargetState[], keyHash: number, tried: Tried): TargetState | null {
  let best: TargetState | null = null;
  let bestScore = -1;
  for (const state of states) {
    if (!takes(state, tried)) continue;
    const score = mix(keyHash ^ state.seed);
    if (score > bestScore) {
      best = state;
      bestScore = score;
    }
  }
  return best;
}

/** The target that a client's cookie names. */
export function pickByToken(states: readonly TargetState[], token: string, tried: Tried): TargetState | null {
  for (const state of states) if (state.token === token) return takes(state, tried) ? state : null;
  return null;
}
