// What control has said so far: a snapshot with the deltas since. A message that does not follow the one before is a gap, after which only
// a new snapshot counts. What a message changes is told apart, so that one change costs what it changes and not what there is.

import type { PassingParts, RouteGroup, RouteParty, RouteRule, RouteTable, TableCertificate, TableMessage } from '../api/dataplane.ts';
import { routeKey } from '../model/route-match.ts';

/** A table as it is kept on disk and shown. */
export interface KeptTable {
  readonly sequence: number;
  readonly table: RouteTable;
}

/** What comes into force, and what is over. Rules are named by routeKey, groups and parties by id, certificates by name. */
export interface TableChange {
  readonly putRules: ReadonlyMap<string, RouteRule>;
  readonly removeRules: readonly string[];
  readonly putGroups: readonly RouteGroup[];
  readonly removeGroups: readonly string[];
  readonly putParties: readonly RouteParty[];
  readonly removeParties: readonly string[];
  readonly putCertificates: readonly TableCertificate[];
  readonly removeCertificates: readonly string[];
  /** What is absent stays as it is. */
  readonly passing: PassingParts;
}

export interface TableState {
  /** Null before the first table. */
  sequence(): number | null;
  /** 'gap': it does not follow. Null: it changes nothing. */
  apply(message: TableMessage): TableChange | 'gap' | null;
  kept(): KeptTable | null;
}

export function createTableState(): TableState {
  let sequence: number | null = null;
  const rules = new Map<string, RouteRule>();
  const groups = new Map<string, RouteGroup>();
  const parties = new Map<string, RouteParty>();
  const certificates = new Map<string, TableCertificate>();

  const take = (change: TableChange): TableChange => {
    for (const key of change.removeRules) rules.delete(key);
    for (const [key, rule] of change.putRules) rules.set(key, rule);
    for (const id of change.removeGroups) groups.delete(id);
    for (const group of change.putGroups) groups.set(group.id, group);
    for (const id of change.removeParties) parties.delete(id);
    for (const party of change.putParties) parties.set(party.id, party);
    for (const name of change.removeCertificates) certificates.delete(name);
    for (const certificate of change.putCertificates) certificates.set(certificate.name, certificate);
    return change;
  };
  /** What has to go so that only these are there. */
  const beside = (there: ReadonlyMap<string, unknown>, kept: ReadonlySet<string>): string[] =>
    [...there.keys()].filter((key) => !kept.has(key));

  return {
    sequence: () => sequence,
    apply: (message) => {
      switch (message.type) {
        case 'taps':
        case 'ping':
          return null;
        case 'snapshot': {
          const { table } = message;
          const putRules = byKey(table.rules);
          const putParties = table.parties ?? [];
          const putCertificates = table.certificates ?? [];
          sequence = message.sequence;
          return take({
            putRules,
            removeRules: beside(rules, new Set(putRules.keys())),
            putGroups: table.groups,
            removeGroups: beside(groups, new Set(table.groups.map((group) => group.id))),
            putParties,
            removeParties: beside(parties, new Set(putParties.map((party) => party.id))),
            putCertificates,
            removeCertificates: beside(certificates, new Set(putCertificates.map((certificate) => certificate.name))),
            passing: { challenges: {}, challengeCertificates: [], ...passingOf(table) },
          });
        }
        case 'delta': {
          if (sequence === null || message.sequence !== sequence + 1) return 'gap';
          sequence = message.sequence;
          const { putRules = [], removeRules = [], putGroups, removeGroups, putParties = [], removeParties = [] } = message;
          const { putCertificates = [], removeCertificates = [] } = message;
          return take({
            putRules: byKey(putRules),
            removeRules,
            putGroups,
            removeGroups,
            putParties,
            removeParties,
            putCertificates,
            removeCertificates,
            passing: passingOf(message),
          });
        }
      }
    },
    kept: () => {
      if (sequence === null) return null;
      return {
        sequence,
        table: {
          rules: [...rules.values()],
          groups: [...groups.values()],
          ...(parties.size === 0 ? {} : { parties: [...parties.values()] }),
          ...(certificates.size === 0 ? {} : { certificates: [...certificates.values()] }),
        },
      };
    },
  };
}

function passingOf({ challenges, challengeCertificates, ticketKey }: PassingParts): PassingParts {
  return {
    ...(challenges === undefined ? {} : { challenges }),
    ...(challengeCertificates === undefined ? {} : { challengeCertificates }),
    ...(ticketKey === undefined ? {} : { ticketKey }),
  };
}

function byKey(rules: readonly RouteRule[]): ReadonlyMap<string, RouteRule> {
  return new Map(rules.map((rule) => [routeKey(rule), rule]));
}
