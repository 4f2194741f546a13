// CORS as the Fetch standard says (§3.2): which pages of other origins may read an answer. A preflight is answered here; an App never
// hears of it.

import type { CorsPolicy } from '../../model/route-policy.ts';
import { Fields } from '../../proxy/fields.ts';

export interface Cors {
  /** The answer to a preflight; null where the request is none. */
  preflight(method: string, field: (lower: string) => string | undefined): Fields | null;
  /** What an answer says; also one that does not allow anything, since caches must know that it depends on the origin. */
  edit(answer: Fields, origin: string | undefined): void;
}

export function createCors(policy: CorsPolicy): Cors {
  const anyOrigin = policy.origins.includes('*');
  const exact = new Set(policy.origins);
  const wild = policy.origins
    .filter((origin) => origin.includes('://*.'))
    .map((origin) => {
      const [scheme = '', rest = ''] = origin.split('*');
      return { scheme, rest };
    });
  const isAllowed = (origin: string): boolean =>
    anyOrigin ||
    exact.has(origin) ||
    wild.some(({ scheme, rest }) => origin.startsWith(scheme) && origin.endsWith(rest) && origin.length > scheme.length + rest.length);
  const allow = (fields: Fields, origin: string): void => {
    fields.set('Access-Control-Allow-Origin', anyOrigin ? '*' : origin);
    if (policy.credentials) fields.set('Access-Control-Allow-Credentials', 'true');
  };
  return {
    preflight: (method, field) => {
      const origin = field('origin');
      const wanted = field('access-control-request-method');
      if (method !== 'OPTIONS' || origin === undefined || wanted === undefined) return null;
      const fields = Fields.of('Vary', 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers');
      if (!isAllowed(origin) || !policy.methods.includes(wanted)) return fields;
      const asked = (field('access-control-request-headers') ?? '')
        .split(',')
        .map((name) => name.trim().toLowerCase())
        .filter((name) => name !== '');
      if (policy.headers.length > 0 && !asked.every((name) => policy.headers.includes(name))) return fields;
      allow(fields, origin);
      fields.add('Access-Control-Allow-Methods', policy.methods.join(', '));
      // What was asked for is plain text of a client: only names go back.
      const names = (policy.headers.length > 0 ? policy.headers : asked).filter((name) => /^[!#$%&'*+.^_`|~0-9a-z-]{1,100}$/u.test(name));
      if (names.length > 0) fields.add('Access-Control-Allow-Headers', names.join(', '));
      fields.add('Access-Control-Max-Age', String(policy.maxAgeS));
      return fields;
    },
    edit: (answer, origin) => {
      for (const name of ['access-control-allow-origin', 'access-control-allow-credentials', 'access-control-expose-headers'])
        answer.delete(name);
      if (!anyOrigin) answer.add('Vary', 'Origin');
      if (origin === undefined || !isAllowed(origin)) return;
      allow(answer, origin);
      if (policy.expose.length > 0) answer.add('Access-Control-Expose-Headers', policy.expose.join(', '));
    },
  };
}
