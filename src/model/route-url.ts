// Where people reach a Route, and which of many stands for all.

import type { RouteSpec } from './manifest-types.ts';

/** How the Edges are reached from outside. */
export interface PublicAddress {
  readonly publicScheme: 'http' | 'https';
  readonly publicPort: number;
  /** Where a Route that takes https alone is reached; null: nowhere else. */
  readonly publicHttpsPort: number | null;
}

/** The URL for people; the port only where it is not the scheme's own. Of a pattern, which is no path, the root of its host. */
export function routeUrl(
  { publicScheme, publicPort, publicHttpsPort }: PublicAddress,
  { host, path, pathType, policy }: Pick<RouteSpec, 'host' | 'path' | 'pathType' | 'policy'>,
): string {
  const isSecure = publicHttpsPort !== null && (policy?.https === 'redirect' || policy?.clientCertificates !== undefined);
  const scheme = isSecure ? 'https' : publicScheme;
  const number = isSecure ? publicHttpsPort : publicPort;
  const port = number === (scheme === 'https' ? 443 : 80) ? '' : `:${number}`;
  return `${scheme}://${host}${port}${path === '/' || pathType === 'pattern' ? '' : path}`;
}

/** What a person who opens the Route's URL would miss: a place, an answer of the App itself, or a request that has to be more than that. */
function strangeness({ host, pathType, match, policy }: RouteSpec): number {
  const asks = Object.values(match).some((part) => (Array.isArray(part) ? part.length > 0 : Object.keys(part ?? {}).length > 0));
  return (host.startsWith('*') ? 8 : 0) + (policy?.redirect !== undefined ? 4 : 0) + (pathType === 'pattern' ? 2 : 0) + (asks ? 1 : 0);
}

/** The one to show for all of them: the first that can be opened as it is, else the first that comes nearest. */
export function mainRoute<R extends { readonly route: RouteSpec }>(routes: readonly R[]): R | undefined {
  return routes.toSorted((a, b) => strangeness(a.route) - strangeness(b.route))[0];
}
