// A request as Routes ask about it. Query and cookies are taken apart when the first Route wants to know. And which Route serves it: the
// Edge and whoever explains ask the same function.

import type { CanonicalTarget } from './request-target.ts';
import type { GroupRoute, MatchInput, RouteTable } from './route-table.ts';

/** Fields of a request by lower-case name; a name that repeats is joined. */
export type FieldOf = (lower: string) => string | undefined;

export class Asked implements MatchInput {
  readonly host: string;
  readonly path: string;
  readonly method: string;
  readonly address: string;
  readonly header: FieldOf;
  readonly #queryText: string;
  #query: URLSearchParams | null = null;
  #cookies: ReadonlyMap<string, string> | null = null;

  /** @param query with its question mark, or ''. @param address the client's, as trusted hops vouch for it. */
  constructor(method: string, host: string, path: string, query: string, header: FieldOf, address: string) {
    this.method = method;
    this.host = host;
    this.path = path;
    this.address = address;
    this.header = header;
    this.#queryText = query;
  }

  query(name: string): string | undefined {
    this.#query ??= new URLSearchParams(this.#queryText);
    return this.#query.get(name) ?? undefined;
  }

  cookie(name: string): string | undefined {
    this.#cookies ??= parseCookies(this.header('cookie') ?? '');
    return this.#cookies.get(name);
  }
}

/** Of a name that is there twice, the first. */
function parseCookies(text: string): ReadonlyMap<string, string> {
  const cookies = new Map<string, string>();
  for (const part of text.split(';')) {
    const equals = part.indexOf('=');
    if (equals === -1) continue;
    const name = part.slice(0, equals).trim();
    if (name !== '' && !cookies.has(name)) cookies.set(name, part.slice(equals + 1).trim());
  }
  return cookies;
}

export type FoundRoute<R> =
  | { readonly type: 'found'; readonly rule: R }
  /** A target that decodes an encoded slash would serve what another Route guards. */
  | { readonly type: 'ambiguous' }
  | { readonly type: 'no_path' }
  | { readonly type: 'no_host' };

export function askedOf(method: string, { host, path, query }: CanonicalTarget, header: FieldOf, address: string): Asked {
  return new Asked(method, host, path === '*' ? '/' : path, query, header, address);
}

export function findRoute<R extends GroupRoute>(
  table: RouteTable<R>,
  method: string,
  target: CanonicalTarget,
  header: FieldOf,
  address: string,
): FoundRoute<R> {
  const rule = table.match(askedOf(method, target, header, address));
  const { host, query, decodedPath } = target;
  if (decodedPath !== null && table.match(new Asked(method, host, decodedPath, query, header, address)) !== rule)
    return { type: 'ambiguous' };
  if (rule !== null) return { type: 'found', rule };
  return { type: table.knowsHost(host) ? 'no_path' : 'no_host' };
}
