// Paths of the table: matching for upgrades, which do not pass through the router, and helpful answers to what matches nothing.

import { Failure } from '../lib/failure.ts';
import { HttpFailure } from './server-problem.ts';
import type { Bound } from './server-bind.ts';

/** `{app}` → `:app`. */
export function routerPath(path: string): string {
  return path.replace(/\{([^}]+)\}/gu, ':$1');
}

function segmentsOf(path: string): readonly string[] | null {
  try {
    return path.split('/').slice(1).map(decodeURIComponent);
  } catch {
    return null;
  }
}

function isParam(segment: string): boolean {
  return segment.startsWith('{');
}

/** The path parameters where `path` (without a query) has the form of the template; null otherwise. */
export function matchPath(template: string, path: string): Readonly<Record<string, string>> | null {
  const wanted = template.split('/').slice(1);
  const given = segmentsOf(path);
  if (given === null || given.length !== wanted.length) return null;
  const params: Record<string, string> = {};
  for (const [index, segment] of wanted.entries()) {
    const value = given[index] ?? '';
    if (isParam(segment)) params[segment.slice(1, -1)] = value;
    else if (segment !== value) return null;
  }
  return params;
}

/** Levenshtein distance, for short words. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_unused, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

function nearest(templates: readonly string[], path: string): string | null {
  const given = segmentsOf(path);
  if (given === null || path.length > 300) return null;
  let best: { readonly template: string; readonly cost: number } | null = null;
  for (const template of templates) {
    const wanted = template.split('/').slice(1);
    let cost = 3 * Math.abs(wanted.length - given.length);
    for (const [index, segment] of wanted.entries()) {
      const value = given[index];
      if (value !== undefined && !isParam(segment)) cost += distance(segment, value.slice(0, 40));
    }
    if (best === null || cost < best.cost) best = { template, cost };
  }
  return best !== null && best.cost <= 6 ? best.template : null;
}

/** The Failure for a request that no endpoint takes: 405 where the path exists with other methods, else 404 with the nearest path. */
export function unknownRoute(all: readonly Bound[], method: string, path: string): Failure {
  const samePath = all.filter(({ endpoint }) => matchPath(endpoint.path, path) !== null).map(({ endpoint }) => endpoint.method);
  if (samePath.length > 0) {
    const allow = [...new Set([...samePath, ...(samePath.includes('GET') ? ['HEAD'] : [])])].join(', ');
    return new HttpFailure(new Failure('unsupported', { message: `${path} does not take ${method}.`, hint: `It takes: ${allow}.` }), 405, {
      allow,
    });
  }
  const near = nearest([...new Set(all.map(({ endpoint }) => endpoint.path))], path);
  return new Failure('not_found', {
    message: `There is no endpoint ${path.slice(0, 200)}.`,
    hint: near === null ? 'All endpoints are listed at /v1/openapi.json.' : `Did you mean ${near}?`,
  });
}
