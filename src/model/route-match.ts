// What a Route asks of a request. Pure types, and the key by which two Routes are told to match the same requests.

import type { RoutePolicy } from './route-policy.ts';

/** Equal to the text; or the whole of it matches a pattern (patterns.ts); or there is such a thing at all, or none. */
export type ValueMatch = string | { readonly pattern: string } | { readonly present: boolean };

export type ValueMatches = Readonly<Record<string, ValueMatch>>;

/** All must hold. */
export interface RouteMatch {
  /** By lower-case name; a field that repeats is joined by commas. */
  readonly headers: ValueMatches;
  /** Absent: any. */
  readonly methods?: readonly string[];
  /** Of a parameter that repeats, the first. Names and values are compared decoded. */
  readonly query?: ValueMatches;
  readonly cookies?: ValueMatches;
  /** Addresses and ranges; the client's is the one that trusted hops vouch for. */
  readonly sources?: readonly string[];
}

export interface RouteConditions extends RouteMatch {
  /** Lower-case; a leading `*.` is one label or more, `*` alone is every host. */
  readonly host: string;
  /** A prefix on whole segments; the whole path; or a pattern over the whole path. */
  readonly path: string;
  /** Absent: prefix. */
  readonly pathType?: 'exact' | 'pattern';
}

/** The conditions of a Route and what is done with a request that meets them. */
export interface RouteTo extends RouteConditions {
  readonly policy?: RoutePolicy;
}

function sorted(matches: ValueMatches | undefined, lower: boolean): readonly (readonly [string, ValueMatch])[] {
  return Object.entries(matches ?? {})
    .map(([name, match]) => [lower ? name.toLowerCase() : name, match] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Equal for Routes that match the same requests by the same conditions. */
export function routeKey(route: RouteConditions): string {
  const path = route.pathType === undefined && route.path !== '/' ? route.path.replace(/\/+$/u, '') : route.path;
  const rest = [
    route.methods === undefined ? 0 : [...route.methods].sort(),
    sorted(route.query, false),
    sorted(route.cookies, false),
    route.sources === undefined ? 0 : [...route.sources].sort(),
  ];
  const isPlain = rest.every((part) => part === 0 || (Array.isArray(part) && part.length === 0));
  const head = [route.host.toLowerCase(), route.pathType === undefined ? path : `${route.pathType} ${path}`, sorted(route.headers, true)];
  return JSON.stringify(isPlain ? head : [...head, ...rest]);
}

/** Every pattern that has to be compiled for it. */
export function patternsOf({ path, pathType, headers, query, cookies }: RouteConditions): string[] {
  const patterns = pathType === 'pattern' ? [path] : [];
  for (const matches of [headers, query, cookies])
    for (const match of Object.values(matches ?? {})) if (typeof match === 'object' && 'pattern' in match) patterns.push(match.pattern);
  return patterns;
}
