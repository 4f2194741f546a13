// What the Edges would do with a request, and why: the same reading of the target and the same matcher. Pure.

import { askedOf, findRoute } from './asked.ts';
import { canonicalTarget } from './request-target.ts';
import type { CanonicalTarget } from './request-target.ts';
import type { GroupRoute, Miss, RouteTable } from './route-table.ts';

export interface ExplainedRequest {
  readonly method: string;
  /** Path with query, as in a request line. */
  readonly target: string;
  /** The Host field. */
  readonly host: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly address: string;
}

export interface Explanation<R> {
  /** Null where the request cannot be understood; `why` says it. */
  readonly target: CanonicalTarget | null;
  readonly outcome: 'found' | 'ambiguous' | 'no_path' | 'no_host' | 'bad_request';
  readonly why: string | null;
  readonly rule: R | null;
  /** The others of its host, the more specific first. */
  readonly others: readonly { readonly rule: R; readonly miss: Miss | 'less specific' }[];
}

const OTHERS = 100;

export function explainRequest<R extends GroupRoute>(table: RouteTable<R>, request: ExplainedRequest): Explanation<R> {
  const target = canonicalTarget(request.method, request.target, request.host);
  if (target.type === 'bad') return { target: null, outcome: 'bad_request', why: target.why, rule: null, others: [] };
  const header = (lower: string): string | undefined => {
    const values = request.headers.filter(([name]) => name.toLowerCase() === lower).map(([, value]) => value);
    return values.length === 0 ? undefined : values.join(lower === 'cookie' ? '; ' : ', ');
  };
  const found = findRoute(table, request.method, target, header, request.address);
  const told = table.explain(askedOf(request.method, target, header, request.address), OTHERS);
  const others = told.flatMap(({ rule, miss }) => (miss === null ? [] : [{ rule, miss }]));
  const why = found.type === 'ambiguous' ? 'an encoded slash in the path makes it unclear which Route is meant' : null;
  return { target, outcome: found.type, why, rule: found.type === 'found' ? found.rule : null, others };
}
