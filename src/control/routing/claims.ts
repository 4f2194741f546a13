// Who has which Route: of two Environments that claim the same requests the older one has them, and the other one is told. A change costs
// what the Environment's own Routes cost, however many others there are. Pure: the same claims give the same owners, in whatever order
// they came.

import type { RouteRule } from '../../api/dataplane.ts';
import { routeKey } from '../../model/route-match.ts';

/** What one Environment claims. */
export interface EnvironmentClaims {
  readonly environmentId: string;
  readonly createdAtMs: number;
  readonly rules: readonly RouteRule[];
}

export interface RuleConflict {
  readonly rule: RouteRule;
  /** Environment that has the route. */
  readonly ownerId: string;
  /** Environment that asked for it too. */
  readonly loserId: string;
}

/** What a change does to the rules in force. */
export interface RuleChange {
  readonly put: readonly RouteRule[];
  readonly remove: readonly string[];
}

export interface Claims {
  /** `after` null: the Environment is gone. */
  change(environmentId: string, after: EnvironmentClaims | null): RuleChange;
  /** The rule in force with this key. */
  ruleOf(key: string): RouteRule | undefined;
  /** In the order of their keys. */
  rules(): readonly RouteRule[];
  conflicts(): readonly RuleConflict[];
}

interface Claim {
  readonly rule: RouteRule;
  readonly environmentId: string;
  readonly createdAtMs: number;
}

const isOlder = (a: Claim, b: Claim): boolean =>
  a.createdAtMs < b.createdAtMs || (a.createdAtMs === b.createdAtMs && a.environmentId < b.environmentId);

/** `sameRule` keeps a rule that says the same from being sent again. */
export function createClaims(sameRule: (a: RouteRule, b: RouteRule) => boolean): Claims {
  /** By key; the owner first. */
  const claims = new Map<string, Claim[]>();
  const keysOf = new Map<string, readonly string[]>();
  const contested = new Set<string>();

  const take = (key: string, environmentId: string): void => {
    const left = (claims.get(key) ?? []).filter((claim) => claim.environmentId !== environmentId);
    if (left.length === 0) claims.delete(key);
    else claims.set(key, left);
    if (left.length < 2) contested.delete(key);
  };
  const add = (key: string, claim: Claim): void => {
    const list = claims.get(key) ?? [];
    const at = list.findIndex((other) => isOlder(claim, other));
    list.splice(at === -1 ? list.length : at, 0, claim);
    claims.set(key, list);
    if (list.length > 1) contested.add(key);
  };

  return {
    change: (environmentId, after) => {
      const before = keysOf.get(environmentId) ?? [];
      const owned = new Map(before.map((key) => [key, claims.get(key)?.[0]?.rule] as const));
      for (const key of before) take(key, environmentId);
      const now = new Map<string, RouteRule>();
      // Said twice by one Environment, the first one counts.
      for (const rule of after?.rules ?? []) {
        const key = routeKey(rule);
        if (!now.has(key)) now.set(key, rule);
      }
      for (const [key, rule] of now) {
        if (!owned.has(key)) owned.set(key, claims.get(key)?.[0]?.rule);
        add(key, { rule, environmentId, createdAtMs: after?.createdAtMs ?? 0 });
      }
      if (now.size === 0) keysOf.delete(environmentId);
      else keysOf.set(environmentId, [...now.keys()]);
      const put: RouteRule[] = [];
      const remove: string[] = [];
      for (const [key, was] of owned) {
        const is = claims.get(key)?.[0]?.rule;
        if (is === undefined) {
          if (was !== undefined) remove.push(key);
        } else if (was === undefined || !sameRule(was, is)) put.push(is);
      }
      return { put, remove };
    },
    ruleOf: (key) => claims.get(key)?.[0]?.rule,
    rules: () => [...claims].sort(([a], [b]) => (a < b ? -1 : 1)).flatMap(([, [owner]]) => (owner === undefined ? [] : [owner.rule])),
    conflicts: () =>
      [...contested].sort().flatMap((key) => {
        const [owner, ...losers] = claims.get(key) ?? [];
        return owner === undefined
          ? []
          : losers.map(({ rule, environmentId }) => ({ rule, ownerId: owner.environmentId, loserId: environmentId }));
      }),
  };
}
