// Passive health: a target that refuses connections is left out for a while, longer each time, and comes back by itself. It is only
// an opinion of this proxy: where every target is out, all are tried, since a refused try costs less than a page that says no.

import type { Clock } from '../lib/clock.ts';
import { targetKey } from './dial.ts';
import type { Target } from './dial.ts';

const FIRST_EJECTION_MS = 500;
const LONGEST_EJECTION_MS = 10_000;

export interface PassiveHealth {
  /** A connection was refused or timed out. */
  failed(target: Target): void;
  /** The target answered. */
  succeeded(target: Target): void;
  isOut(target: Target): boolean;
  /** Ids of targets that are out now. */
  ejected(): string[];
  retain(targets: readonly Target[]): void;
}

export function createPassiveHealth(clock: Clock): PassiveHealth {
  const states = new Map<string, { readonly id: string; failures: number; untilMs: number }>();
  return {
    failed: (target) => {
      const key = targetKey(target);
      const state = states.get(key) ?? { id: target.id, failures: 0, untilMs: 0 };
      const now = clock.monotonic();
      // Several requests that fail together are one observation.
      if (state.untilMs > now) return;
      state.untilMs = now + Math.min(LONGEST_EJECTION_MS, FIRST_EJECTION_MS * 2 ** Math.min(state.failures, 10));
      state.failures += 1;
      states.set(key, state);
    },
    succeeded: (target) => {
      if (states.size > 0) states.delete(targetKey(target));
    },
    isOut: (target) => {
      if (states.size === 0) return false;
      return (states.get(targetKey(target))?.untilMs ?? 0) > clock.monotonic();
    },
    ejected: () => {
      const now = clock.monotonic();
      return [...states.values()].filter((state) => state.untilMs > now).map((state) => state.id);
    },
    retain: (targets) => {
      if (states.size === 0) return;
      const wanted = new Set(targets.map(targetKey));
      for (const key of states.keys()) if (!wanted.has(key)) states.delete(key);
    },
  };
}
