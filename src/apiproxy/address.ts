// Which Service a request names. Two forms on one listener: the host `<service>.<app>.libra`, where names lead to the API Proxy, and a path
// that begins with `/<app>.<service>/`, where they do not.

import { isName } from '../model/names.ts';
import type { CanonicalTarget } from '../model/request-target.ts';
import { API_PROXY_HOST, SERVICE_HOST_END } from '../model/service-policy.ts';
import type { ServiceName } from '../model/service-policy.ts';

export interface Asked {
  readonly service: ServiceName;
  /** Below the Service, beginning with `/`. */
  readonly path: string;
  /** The same as somebody reads it who takes an encoded slash for a slash; null: it is the same. */
  readonly decodedPath: string | null;
}

/** null: it names none. */
export function askedOf({ host, path, decodedPath }: Pick<CanonicalTarget, 'host' | 'path' | 'decodedPath'>): Asked | null {
  if (host.endsWith(SERVICE_HOST_END) && host !== API_PROXY_HOST) {
    const [name = '', app = '', ...more] = host.slice(0, -SERVICE_HOST_END.length).split('.');
    return more.length === 0 && isName(name) && isName(app) ? { service: { app, name }, path, decodedPath } : null;
  }
  const end = path.indexOf('/', 1);
  const first = end === -1 ? path.slice(1) : path.slice(1, end);
  const [app = '', name = '', ...more] = first.split('.');
  if (more.length > 0 || !isName(app) || !isName(name)) return null;
  // Names have no encoded character, so that the decoded path begins alike.
  const below = (whole: string): string => (end === -1 ? '/' : whole.slice(end));
  return { service: { app, name }, path: below(path), decodedPath: decodedPath === null ? null : below(decodedPath) };
}
