// The table in force: swapped as a whole between two requests, kept on disk, and with it which targets drain and until when. It is the
// only place where a table comes into force.

import type { RouteRule, RouteTarget, TableMessage } from '../api/dataplane.ts';
import type { Clock } from '../lib/clock.ts';
import type { OpenCounts } from '../proxy/drain.ts';
import type { Pool } from '../proxy/pool.ts';
import type { Groups } from './groups.ts';
import type { Holds } from './holds.ts';
import { loadPatterns, patternsLoaded } from '../model/patterns.ts';
import { patternsOf } from '../model/route-match.ts';
import { createRouteTable } from '../model/route-table.ts';
import type { RouteTable } from '../model/route-table.ts';
import type { Certificates } from './tls/certificates.ts';
import type { OnDemand } from './tls/on-demand.ts';
import { createTableState } from './table-state.ts';
import type { KeptTable, TableChange } from './table-state.ts';
import type { VersionCounts } from './version-counts.ts';

export interface Routing {
  /** Null before the first table. */
  table(): RouteTable<RouteRule> | null;
  sequence(): number | null;
  /** The table in force as it is kept on disk; null before the first. */
  kept(): KeptTable | null;
  /** What an authority that asks for this token is told (RFC 8555 §8.3); null where nobody has ordered anything. */
  challenge(token: string): string | null;
  /** Before `apply`: loads what the rules of a message need. Null where they need nothing. */
  prepare(message: TableMessage): Promise<void> | null;
  /** Applies a message of control, or a table from disk as a snapshot; false: it leaves a gap. */
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
  readonly onDemand: OnDemand;
}

export function createRouting(deps: RoutingDeps): Routing {
  const { clock, groups, pool, open, versionCounts, holds, certificates, onDemand } = deps;
  const state = createTableState();
  const table = createRouteTable<RouteRule>([]);
  let draining: ReadonlyMap<string, RouteTarget> = new Map();
  let cancelDeadline: (() => void) | null = null;
  let challenges: ReadonlyMap<string, string> = new Map();

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

  const install = (change: TableChange): void => {
    for (const key of change.removeRules) table.remove(key);
    for (const rule of change.putRules.values()) table.put(rule);
    certificates.change(change.putCertificates, change.removeCertificates);
    certificates.changeRules(change.putRules.values(), change.removeRules);
    onDemand.changeRules(change.putRules.values(), change.removeRules);
    onDemand.certified(change.putCertificates.map(({ name }) => name));
    const { passing } = change;
    if (passing.challengeCertificates !== undefined) certificates.setChallenges(passing.challengeCertificates);
    if (passing.ticketKey !== undefined) certificates.setTicketKey(Buffer.from(passing.ticketKey, 'base64'));
    if (passing.challenges !== undefined) challenges = new Map(Object.entries(passing.challenges));
    pool.forget(groups.change(change.putGroups, change.removeGroups));
    versionCounts.change(change.putGroups, change.removeGroups);
    draining = new Map(groups.draining().map((target) => [target.instanceId, target]));
    enforce();
    // Last: what has waited finds everything in force.
    holds.change(change.putGroups, change.removeGroups);
  };

  return {
    table: () => (state.sequence() === null ? null : table),
    sequence: () => state.sequence(),
    kept: () => state.kept(),
    challenge: (token) => challenges.get(token) ?? null,
    prepare: (message) => {
      if (patternsLoaded()) return null;
      const rules = message.type === 'snapshot' ? message.table.rules : message.type === 'delta' ? (message.putRules ?? []) : [];
      return rules.some((rule) => patternsOf(rule).length > 0) ? loadPatterns() : null;
    },
    apply: (message) => {
      const change = state.apply(message);
      if (change === 'gap') return false;
      if (change !== null) install(change);
      return true;
    },
    draining: () => Object.fromEntries(Array.from(draining.keys(), (id) => [id, open.count(id)])),
    isDraining: (targetId) => draining.has(targetId),
    stop: () => cancelDeadline?.(),
  };
}
