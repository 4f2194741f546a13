// The route table as it is asked: which rule serves host + path + headers. Pure; compiled once per change, then only looked up. The most
// specific rule wins: exact host over wildcard, longer wildcard over shorter, longer path, more headers, earlier in the list.

import type { RouteRule } from '../api/dataplane.ts';
import { canonicalHost } from '../model/host.ts';

export interface MatchInput {
  /** Canonical. */
  readonly host: string;
  /** Without query. */
  readonly path: string;
  /** Value of a field by its lower-case name. */
  readonly header: (lower: string) => string | undefined;
}

export interface CompiledTable {
  match(input: MatchInput): RouteRule | null;
  /** True where any rule names the host, whatever the path. */
  knowsHost(host: string): boolean;
  readonly rules: number;
}

interface CompiledRule {
  readonly rule: RouteRule;
  /** Without a trailing slash; empty for `/`. */
  readonly prefix: string;
  readonly headers: readonly (readonly [string, string])[];
}

export function compileTable(rules: readonly RouteRule[]): CompiledTable {
  const exact = new Map<string, CompiledRule[]>();
  const wildcard = new Map<string, CompiledRule[]>();
  for (const rule of rules) {
    const isWildcard = rule.host.startsWith('*.');
    const host = canonicalHost(isWildcard ? rule.host.slice(2) : rule.host);
    if (host === null) continue;
    const map = isWildcard ? wildcard : exact;
    const list = map.get(host);
    const compiled = {
      rule,
      prefix: rule.path.replace(/\/+$/u, ''),
      headers: Object.entries(rule.headers).map(([name, value]) => [name.toLowerCase(), value] as const),
    };
    if (list === undefined) map.set(host, [compiled]);
    else list.push(compiled);
  }
  for (const map of [exact, wildcard]) {
    // A stable sort: equals stay in the order of the list.
    for (const list of map.values()) list.sort((a, b) => b.prefix.length - a.prefix.length || b.headers.length - a.headers.length);
  }

  const find = (list: readonly CompiledRule[] | undefined, input: MatchInput): RouteRule | null => {
    for (const candidate of list ?? []) {
      if (hasPrefix(input.path, candidate.prefix) && candidate.headers.every(([name, value]) => input.header(name) === value)) {
        return candidate.rule;
      }
    }
    return null;
  };
  const wildcardsOf = function* (host: string): Generator<CompiledRule[]> {
    if (wildcard.size === 0) return;
    for (let dot = host.indexOf('.'); dot !== -1; dot = host.indexOf('.', dot + 1)) {
      const list = wildcard.get(host.slice(dot + 1));
      if (list !== undefined) yield list;
    }
  };

  return {
    rules: rules.length,
    match: (input) => {
      const found = find(exact.get(input.host), input);
      if (found !== null) return found;
      for (const list of wildcardsOf(input.host)) {
        const rule = find(list, input);
        if (rule !== null) return rule;
      }
      return null;
    },
    knowsHost: (host) => exact.has(host) || !wildcardsOf(host).next().done,
  };
}

/** `/api` covers `/api` and `/api/x`, never `/apix`. */
function hasPrefix(path: string, prefix: string): boolean {
  return path.startsWith(prefix) && (path.length === prefix.length || path.charCodeAt(prefix.length) === 0x2f);
}
