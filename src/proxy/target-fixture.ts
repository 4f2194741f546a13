// Targets and their states for tests of balancing and health. For tests alone.

import { createFakeClock } from '../lib/clock.ts';
import type { FakeClock } from '../lib/clock.ts';
import { createSeededRandom } from '../lib/id.ts';
import { DEFAULT_TRAFFIC } from '../model/traffic-policy.ts';
import type { TrafficPolicy } from '../model/traffic-policy.ts';
import type { Target } from './dial.ts';
import { TargetGroup } from './target-group.ts';
import type { TargetState } from './target-state.ts';

export const aTarget = (id: string): Target => ({ id, nodeId: 'n', host: '127.0.0.1', port: 1 });

export interface TestGroup {
  readonly group: TargetGroup;
  readonly clock: FakeClock;
  readonly states: readonly TargetState[];
  /** What a probe of a target says from now on; true until told. */
  alive(id: string, answer: boolean): void;
  /** Targets that were probed, with the path. */
  readonly probes: string[];
  /** Ids of those that are out. */
  out(): string[];
  /** A request to the target that ends at once. */
  request(state: TargetState, outcome: number | 'failed' | 'refused', latencyMs?: number): void;
}

export function aGroup(ids: readonly string[], policy: Partial<TrafficPolicy> = {}, healthPath: string | null = null): TestGroup {
  const clock = createFakeClock();
  const probes: string[] = [];
  const dead = new Set<string>();
  const random = createSeededRandom(42);
  const group = new TargetGroup({
    clock,
    probe: (target, path) => {
      probes.push(`${target.id} ${path ?? 'tcp'}`);
      return Promise.resolve(!dead.has(target.id));
    },
    random: () => random.next(),
    maxGroupOpen: 1_000,
    maxTargetOpen: 1_000,
    onEjected: () => undefined,
    onBack: () => undefined,
  });
  group.configure({ ...DEFAULT_TRAFFIC, slowStartMs: 0, ...policy }, healthPath);
  const states = group.use(ids.map(aTarget), []);
  return {
    group,
    clock,
    states,
    probes,
    alive: (id, answer) => void (answer ? dead.delete(id) : dead.add(id)),
    out: () => group.ejected().map((state) => state.target.id),
    request: (state, outcome, latencyMs = 1) => {
      const epoch = state.begin();
      const nowMs = clock.monotonic();
      state.leave(false);
      if (outcome === 'failed') state.failed(nowMs, epoch);
      else if (outcome === 'refused') state.refused(nowMs, epoch);
      else state.answered(nowMs, latencyMs, outcome, epoch);
      state.end();
    },
  };
}
