// The table in force: swapped as a whole between two requests, kept on disk, and with it which targets drain and until when. It is the
// only place where a table comes into force.

import type { RouteTarget, TableMessage } from '../api/dataplane.ts';
import type { Clock } from '../lib/clock.ts';
import type { OpenCounts } from '../proxy/drain.ts';
import type { Pool } from '../proxy/pool.ts';
import type { Groups } from './groups.ts';
import type { Holds } from './holds.ts';
import { compileTable } from './table.ts';
import type { CompiledTable } from './table.ts';
import type { Certificates } from './tls/certificates.ts';
import { applyMessage } from './table-state.ts';
import type { TableState } from './table-state.ts';
import type { VersionCounts } from './version-counts.ts';

export interface Routing {
  /** Null before the first table. */
  table(): CompiledTable | null;
  state(): TableState | null;
  /** Puts a state into force, from disk or from control. */
  install(state: TableState): void;
  /** Applies a message of control; false: it leaves a gap. */
  apply(message: TableMessage): boolean;
  /** Open requests and streams of every draining target. */
  draining(): Record<string, number>;
  isDraining(targetId: string): boolean;
  stop(): void;
}

export interface RoutingDeps {
  readonly clock: Clock;
  readonly groups: Groups;
  readonly pool: Pool;
  readonly open: OpenCounts;
  readonly versionCounts: VersionCounts;
  readonly holds: Holds;
  readonly certificates: Certificates;
}

export function createRouting(deps: RoutingDeps): Routing {
  const { clock, groups, pool, open, versionCounts, holds, certificates } = deps;
  let state: TableState | null = null;
  let table: CompiledTable | null = null;
  let draining: ReadonlyMap<string, RouteTarget> = new Map();
  let cancelDeadline: (() => void) | null = null;

  /** Closes what is still open on targets whose time is over, and comes back for the next one. */
  const enforce = (): void => {
    cancelDeadline?.();
    cancelDeadline = null;
    const now = clock.now();
    let nextMs = Infinity;
    for (const target of draining.values()) {
      if (target.drainUntilMs === null) continue;
      if (target.drainUntilMs <= now) open.closeAll(target.instanceId);
      else nextMs = Math.min(nextMs, target.drainUntilMs - now);
    }
    if (nextMs !== Infinity) cancelDeadline = clock.timer(nextMs, enforce);
  };

  const install = (next: TableState): void => {
    if (table === null || state?.table.rules !== next.table.rules) table = compileTable(next.table.rules);
    state = next;
    certificates.replace(next.table.certificates ?? []);
    pool.forget(groups.replace(next.table.groups));
    versionCounts.retain(next.table.groups);
    draining = new Map(groups.draining().map((target) => [target.instanceId, target]));
    enforce();
    // Last: what has waited finds everything in force.
    holds.retain(next.table.groups);
  };

  return {
    table: () => table,
    state: () => state,
    install,
    apply: (message) => {
      const next = applyMessage(state, message);
      if (next === null) return message.type === 'ping';
      if (next !== state) install(next);
      return true;
    },
    draining: () => Object.fromEntries(Array.from(draining.keys(), (id) => [id, open.count(id)])),
    isDraining: (targetId) => draining.has(targetId),
    stop: () => cancelDeadline?.(),
  };
}
