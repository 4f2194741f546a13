// Which Route serves a request. One lookup costs what the request and its host's own rules cost, however many other rules there are; one
// change costs what its host's rules cost. Pure, and the same engine for the Edge and for whoever explains.
//
// The most specific rule wins: exact host, then the longest wildcard, then `*`; exact path, then a pattern (the longer text first), then the longest
// prefix; then a method, more headers, more query parameters, more cookies, sources; then the older Environment, as the ids of groups tell it,
// and at last the key: every Edge decides alike, whatever it has heard in which order.

import { createRanges } from './address-range.ts';
import { parseRouteHost } from './host.ts';
import type { RouteHost } from './host.ts';
import { compilePattern } from './patterns.ts';
import type { Pattern } from './patterns.ts';
import type { RouteConditions, ValueMatch, ValueMatches } from './route-match.ts';
import { routeKey } from './route-match.ts';

/** What is asked of a request; each at most once, and only where a rule of its host wants to know. */
export interface MatchInput {
  /** Canonical. */
  readonly host: string;
  /** Without query. */
  readonly path: string;
  readonly method: string;
  /** Value of a field by its lower-case name. */
  readonly header: (lower: string) => string | undefined;
  readonly query: (name: string) => string | undefined;
  readonly cookie: (name: string) => string | undefined;
  readonly address: string;
}

/** Why a rule does not match; null where it does. */
export type Miss = 'path' | 'method' | `header ${string}` | `query ${string}` | `cookie ${string}` | 'source';

interface Check {
  readonly miss: Miss;
  readonly met: (input: MatchInput) => boolean;
}

interface CompiledRule<R> {
  readonly key: string;
  readonly rule: R;
  /** Ids of Environments grow with time. */
  readonly group: string;
  /** Beside host and path. */
  readonly checks: readonly Check[];
  /** Larger ones win: method, headers, query, cookies, sources. */
  readonly weights: readonly number[];
}

/** The rules of one host. */
interface HostRules<R> {
  readonly exact: Map<string, CompiledRule<R>[]>;
  readonly patterns: (CompiledRule<R> & { readonly pattern: Pattern })[];
  /** By prefix without its last slash; '' for `/`. */
  readonly prefixes: Map<string, CompiledRule<R>[]>;
  /** Slashes of the longest prefix. */
  depth: number;
}

/** A Route and the group that it leads to. */
export interface GroupRoute extends RouteConditions {
  readonly group: string;
}

export interface RouteTable<R extends GroupRoute> {
  match(input: MatchInput): R | null;
  /** Every rule of the hosts that the request has, the winner first where there is one, with why each of the others does not serve it. */
  explain(input: MatchInput, limit: number): readonly { readonly rule: R; readonly miss: Miss | 'less specific' | null }[];
  /** True where any rule names the host, whatever the path. */
  knowsHost(host: string): boolean;
  readonly size: number;
  /** A rule with the key of another one takes its place. */
  put(rule: R): void;
  remove(key: string): void;
}

export function createRouteTable<R extends GroupRoute>(rules: Iterable<R>): RouteTable<R> {
  const exact = new Map<string, Map<string, CompiledRule<R>>>();
  const wildcard = new Map<string, Map<string, CompiledRule<R>>>();
  /** Made of the above when a host is first asked for after a change. */
  const exactRules = new Map<string, HostRules<R>>();
  const wildcardRules = new Map<string, HostRules<R>>();
  /** By key of a rule. */
  const hosts = new Map<string, RouteHost>();

  const take = (key: string): void => {
    const at = hosts.get(key);
    if (at === undefined) return;
    hosts.delete(key);
    const byHost = at.isWildcard ? wildcard : exact;
    const ofHost = byHost.get(at.name);
    ofHost?.delete(key);
    if (ofHost?.size === 0) byHost.delete(at.name);
    (at.isWildcard ? wildcardRules : exactRules).delete(at.name);
  };
  const put = (rule: R): void => {
    const key = routeKey(rule);
    const at = parseRouteHost(rule.host);
    take(key);
    if (at === null) return;
    hosts.set(key, at);
    const { name, isWildcard } = at;
    const byHost = isWildcard ? wildcard : exact;
    let ofHost = byHost.get(name);
    if (ofHost === undefined) {
      ofHost = new Map();
      byHost.set(name, ofHost);
    }
    ofHost.set(key, { key, rule, group: rule.group, ...checksOf(rule) });
    (isWildcard ? wildcardRules : exactRules).delete(name);
  };
  for (const rule of rules) put(rule);

  const rulesOf = (isWildcard: boolean, host: string): HostRules<R> | undefined => {
    const cache = isWildcard ? wildcardRules : exactRules;
    const known = cache.get(host);
    if (known !== undefined) return known;
    const ofHost = (isWildcard ? wildcard : exact).get(host);
    if (ofHost === undefined) return undefined;
    const made = compileHost(ofHost.values());
    cache.set(host, made);
    return made;
  };
  /** From the most specific on. */
  const hostsOf = function* (host: string): Generator<HostRules<R>> {
    const own = rulesOf(false, host);
    if (own !== undefined) yield own;
    if (wildcard.size === 0) return;
    for (let dot = host.indexOf('.'); dot !== -1; dot = host.indexOf('.', dot + 1)) {
      const wide = rulesOf(true, host.slice(dot + 1));
      if (wide !== undefined) yield wide;
    }
    const any = rulesOf(true, '');
    if (any !== undefined) yield any;
  };

  return {
    put,
    remove: take,
    get size() {
      return hosts.size;
    },
    match: (input) => {
      const own = rulesOf(false, input.host);
      const found = own === undefined ? null : matchHost(own, input);
      if (found !== null || wildcard.size === 0) return found;
      for (const wide of hostsOf(input.host)) {
        const rule = wide === own ? null : matchHost(wide, input);
        if (rule !== null) return rule;
      }
      return null;
    },
    explain: (input, limit) => {
      const told: { readonly rule: R; readonly miss: Miss | 'less specific' | null }[] = [];
      let won = false;
      for (const ofHost of hostsOf(input.host)) {
        for (const { rule, covers, checks } of inOrder(ofHost, input.path)) {
          const miss = covers ? (checks.find((check) => !check.met(input))?.miss ?? null) : 'path';
          if (miss === null && !won) {
            won = true;
            told.unshift({ rule, miss });
          } else if (told.length < limit) told.push({ rule, miss: miss ?? 'less specific' });
        }
      }
      return told;
    },
    knowsHost: (host) => !hostsOf(host).next().done,
  };
}

function compileHost<R extends GroupRoute>(rules: Iterable<CompiledRule<R>>): HostRules<R> {
  const made: HostRules<R> = { exact: new Map(), patterns: [], prefixes: new Map(), depth: 0 };
  for (const compiled of rules) {
    const { path, pathType } = compiled.rule;
    if (pathType === 'pattern') {
      made.patterns.push({ ...compiled, pattern: compilePattern(path) });
      continue;
    }
    const lists = pathType === 'exact' ? made.exact : made.prefixes;
    const name = pathType === 'exact' ? path : path.replace(/\/+$/u, '');
    if (pathType !== 'exact') made.depth = Math.max(made.depth, slashes(name));
    const list = lists.get(name);
    if (list === undefined) lists.set(name, [compiled]);
    else list.push(compiled);
  }
  for (const lists of [made.exact, made.prefixes]) for (const list of lists.values()) list.sort(bySpecificity);
  made.patterns.sort((a, b) => b.rule.path.length - a.rule.path.length || bySpecificity(a, b));
  return made;
}

function bySpecificity(a: CompiledRule<unknown>, b: CompiledRule<unknown>): number {
  for (let index = 0; index < a.weights.length; index += 1) {
    const difference = (b.weights[index] ?? 0) - (a.weights[index] ?? 0);
    if (difference !== 0) return difference;
  }
  if (a.group !== b.group) return a.group < b.group ? -1 : 1;
  return a.key < b.key ? -1 : 1;
}

function slashes(path: string): number {
  let count = 0;
  for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1)) count += 1;
  return count;
}

function firstMet<R>(list: readonly CompiledRule<R>[] | undefined, input: MatchInput): R | null {
  if (list === undefined) return null;
  for (const { rule, checks } of list) {
    let met = true;
    for (const check of checks) {
      if (check.met(input)) continue;
      met = false;
      break;
    }
    if (met) return rule;
  }
  return null;
}

/** Where a prefix of so many segments ends in the path; -1 where the path has fewer. */
function segmentEnd(path: string, segments: number): number {
  let at = 0;
  for (let count = 0; count < segments; count += 1) {
    const next = path.indexOf('/', at + 1);
    if (next === -1) return count === segments - 1 && path.length > at + 1 ? path.length : -1;
    at = next;
  }
  return at;
}

function matchHost<R>(ofHost: HostRules<R>, input: MatchInput): R | null {
  const { path } = input;
  if (ofHost.exact.size > 0) {
    const found = firstMet(ofHost.exact.get(path), input);
    if (found !== null) return found;
  }
  for (const compiled of ofHost.patterns) {
    if (!compiled.pattern.test(path)) continue;
    const found = firstMet([compiled], input);
    if (found !== null) return found;
  }
  for (let segments = ofHost.depth; segments > 0; segments -= 1) {
    const end = segmentEnd(path, segments);
    const found = end === -1 ? null : firstMet(ofHost.prefixes.get(path.slice(0, end)), input);
    if (found !== null) return found;
  }
  return firstMet(ofHost.prefixes.get(''), input);
}

/** Every rule of the host, the more specific first, and whether its path covers the one asked for. */
function* inOrder<R extends GroupRoute>(ofHost: HostRules<R>, path: string): Generator<CompiledRule<R> & { readonly covers: boolean }> {
  for (const [exact, list] of ofHost.exact) for (const rule of list) yield { ...rule, covers: exact === path };
  for (const rule of ofHost.patterns) yield { ...rule, covers: rule.pattern.test(path) };
  const longestFirst = [...ofHost.prefixes].sort(([a], [b]) => b.length - a.length);
  for (const [prefix, list] of longestFirst) for (const rule of list) yield { ...rule, covers: hasPrefix(path, prefix) };
}

/** `/api` covers `/api` and `/api/x`, never `/apix`. */
function hasPrefix(path: string, prefix: string): boolean {
  return path.startsWith(prefix) && (path.length === prefix.length || path.charCodeAt(prefix.length) === 0x2f);
}

function checksOf(route: RouteConditions): Pick<CompiledRule<unknown>, 'checks' | 'weights'> {
  const checks: Check[] = [];
  const { methods, query, cookies, sources } = route;
  if (methods !== undefined) checks.push({ miss: 'method', met: ({ method }) => methods.includes(method) });
  const headers = Object.entries(route.headers).map(([name, match]) => [name.toLowerCase(), match] as const);
  for (const [name, match] of headers) checks.push({ miss: `header ${name}`, met: valueCheck(match, (input) => input.header(name)) });
  for (const [name, match] of entries(query)) checks.push({ miss: `query ${name}`, met: valueCheck(match, (input) => input.query(name)) });
  for (const [name, match] of entries(cookies))
    checks.push({ miss: `cookie ${name}`, met: valueCheck(match, (input) => input.cookie(name)) });
  if (sources !== undefined) {
    const has = createRanges(sources);
    checks.push({ miss: 'source', met: ({ address }) => has(address) });
  }
  const weights = [
    methods === undefined ? 0 : 1,
    headers.length,
    entries(query).length,
    entries(cookies).length,
    sources === undefined ? 0 : 1,
  ];
  return { checks, weights };
}

const entries = (matches: ValueMatches | undefined): [string, ValueMatch][] => Object.entries(matches ?? {});

function valueCheck(match: ValueMatch, read: (input: MatchInput) => string | undefined): (input: MatchInput) => boolean {
  if (typeof match === 'string') return (input) => read(input) === match;
  if ('present' in match) return (input) => (read(input) !== undefined) === match.present;
  const pattern = compilePattern(match.pattern);
  return (input) => {
    const value = read(input);
    return value !== undefined && pattern.test(value);
  };
}
