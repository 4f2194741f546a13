// What Routes say of their hosts as a whole, since a handshake knows the host and nothing more. Of several Routes of one host the one of the
// oldest Environment counts, as the ids of groups tell it: every Edge decides alike.

import type { RouteRule } from '../../api/dataplane.ts';
import { parseRouteHost, routeHostText } from '../../model/host.ts';
import { routeKey } from '../../model/route-match.ts';

export interface HostRules<T> {
  /** Rules are removed by routeKey. Whether anything is different now. */
  change(put: Iterable<RouteRule>, remove: readonly string[]): boolean;
  /** By a host as `routeHostText` spells it, wildcards included. */
  get(host: string): T | undefined;
  readonly size: number;
}

interface Said<T> {
  readonly group: string;
  readonly value: T;
}

export function createHostRules<T>(valueOf: (rule: RouteRule) => T | undefined): HostRules<T> {
  const byHost = new Map<string, Map<string, Said<T>>>();
  const hostOfKey = new Map<string, string>();

  const forget = (key: string): boolean => {
    const host = hostOfKey.get(key);
    if (host === undefined) return false;
    hostOfKey.delete(key);
    const said = byHost.get(host);
    said?.delete(key);
    if (said?.size === 0) byHost.delete(host);
    return true;
  };

  return {
    change: (put, remove) => {
      let changed = false;
      for (const key of hostOfKey.size === 0 ? [] : remove) changed = forget(key) || changed;
      for (const rule of put) {
        const value = valueOf(rule);
        if (value === undefined && hostOfKey.size === 0) continue;
        const key = routeKey(rule);
        changed = forget(key) || changed;
        const parsed = value === undefined ? null : parseRouteHost(rule.host);
        if (value === undefined || parsed === null) continue;
        const host = routeHostText(parsed);
        hostOfKey.set(key, host);
        const said = byHost.get(host) ?? new Map<string, Said<T>>();
        byHost.set(host, said.set(key, { group: rule.group, value }));
        changed = true;
      }
      return changed;
    },
    get: (host) => {
      let first: Said<T> | undefined;
      for (const said of byHost.get(host)?.values() ?? []) if (first === undefined || said.group < first.group) first = said;
      return first?.value;
    },
    get size() {
      return hostOfKey.size;
    },
  };
}
