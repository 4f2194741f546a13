// What a request is aimed at: host and path out of the request line and the Host field (RFC 9112 §3.2). Anything ambiguous is refused.

import type { RequestHead } from '../proxy/message.ts';
import { canonicalHost } from './host.ts';

export type RequestTarget =
  | {
      readonly type: 'target';
      /** Canonical, for the table. */
      readonly host: string;
      /** As the client wrote it, for the Host header. */
      readonly authority: string;
      /** Path and query, as it is sent on. */
      readonly path: string;
      /** Without query, for the table. */
      readonly pathname: string;
    }
  | { readonly type: 'bad'; readonly why: string };

export function parseRequestTarget(head: RequestHead): RequestTarget {
  let path = head.target;
  let authority = head.host;
  if (!path.startsWith('/')) {
    const absolute = /^https?:\/\/([^/?#]*)([^#]*)$/iu.exec(path);
    if (absolute !== null) {
      // The request line counts, the Host header does not (RFC 9112 §3.2.2).
      authority = absolute[1] ?? '';
      const rest = absolute[2] ?? '';
      path = rest.startsWith('/') ? rest : `/${rest}`;
    } else if (path !== '*' || head.method !== 'OPTIONS') return { type: 'bad', why: 'the request target is not a path' };
  }
  const host = canonicalHost(authority);
  if (host === null) return { type: 'bad', why: 'the Host header names no host' };
  const query = path.indexOf('?');
  const pathname = query === -1 ? path : path.slice(0, query);
  return { type: 'target', host, authority, path, pathname: pathname === '*' ? '/' : pathname };
}
