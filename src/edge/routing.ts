// What the Edge has of the table in force beyond groups and targets: which Route a request means, certificates, pauses, and what
// authorities ask. It changes as a whole between two requests.

import type { RouteRule } from '../api/dataplane.ts';
import { createRouteTable } from '../model/route-table.ts';
import type { RouteTable } from '../model/route-table.ts';
import type { TableChange } from '../dataplane/table-state.ts';
import type { Certificates } from '../dataplane/tls/certificates.ts';
import type { OnDemand } from '../dataplane/tls/on-demand.ts';
import type { Holds } from './holds.ts';

export interface Routing {
  /** Null before the first table. */
  table(): RouteTable<RouteRule> | null;
  /** What an authority that asks for this token is told (RFC 8555 §8.3); null where nobody has ordered anything. */
  challenge(token: string): string | null;
  change(change: TableChange): void;
}

export interface RoutingDeps {
  readonly holds: Holds;
  readonly certificates: Certificates;
  readonly onDemand: OnDemand;
}

export function createRouting({ holds, certificates, onDemand }: RoutingDeps): Routing {
  const table = createRouteTable<RouteRule>([]);
  let known = false;
  let challenges: ReadonlyMap<string, string> = new Map();
  return {
    table: () => (known ? table : null),
    challenge: (token) => challenges.get(token) ?? null,
    change: (change) => {
      known = true;
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
      // Last: what has waited finds everything in force.
      holds.change(change.putGroups, change.removeGroups);
    },
  };
}
