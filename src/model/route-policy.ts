// What a Route does with a request beside sending it to an Entrypoint. Every part is absent where it was not asked for.

import type { RetryPolicy } from './traffic-policy.ts';

/** The whole path; the part of it that the Route's prefix covers; or, behind a pattern, a text in which `$1` is its first group. */
export interface PathEdit {
  readonly kind: 'full' | 'prefix' | 'pattern';
  readonly value: string;
}

export interface RedirectPolicy {
  readonly status: 301 | 302 | 303 | 307 | 308;
  /** What is absent stays as the request has it; the query always does. */
  readonly scheme?: 'http' | 'https';
  readonly host?: string;
  /** Absent: none where scheme or host are said, else the request's. */
  readonly port?: number;
  readonly path?: PathEdit;
}

export interface RewritePolicy {
  readonly host?: string;
  readonly path?: PathEdit;
}

/** First `remove`, then `set` (in place of what is there), then `add`. */
export interface HeaderEdits {
  readonly remove?: readonly string[];
  readonly set?: Readonly<Record<string, string>>;
  readonly add?: Readonly<Record<string, string>>;
}

/** CORS (Fetch standard, §3.2). */
export interface CorsPolicy {
  /** `https://a.example`, `https://*.a.example`, or `*` alone. */
  readonly origins: readonly string[];
  readonly methods: readonly string[];
  /** Empty: those that a preflight asks for. */
  readonly headers: readonly string[];
  readonly expose: readonly string[];
  readonly credentials: boolean;
  readonly maxAgeS: number;
}

/** A token bucket for each client. */
export interface RateLimitPolicy {
  readonly requests: number;
  readonly perMs: number;
  /** The size of the bucket. */
  readonly burst: number;
  readonly by: 'address' | 'route' | { readonly header: string };
}

export interface BasicAuthPolicy {
  readonly realm: string;
  /** Name to a hash as `libra routes hash` makes it (PHC string, scrypt). */
  readonly users: Readonly<Record<string, string>>;
}

/** Certificates that clients show in the TLS handshake. */
export interface ClientCertificatePolicy {
  /** PEM, one certificate or several: what they sign counts. */
  readonly authority: string;
  /** Who shows none is let in too. */
  readonly optional: boolean;
}

/** Certificates of hosts that the Route covers by a wildcard, each ordered when its first visitor comes. */
export interface OnDemandPolicy {
  /** A path of the Entrypoint's: a GET with `?host=` is answered by 2xx where the host is to have one. */
  readonly ask: string;
}

export interface RoutePolicy {
  /** Ranges of addresses that may ask; absent: all. */
  readonly allow?: readonly string[];
  /** Ranges that may not, whatever `allow` says. */
  readonly deny?: readonly string[];
  /** What comes without TLS is sent to https. */
  readonly https?: 'redirect';
  /** What comes without TLS is sent to https too. */
  readonly clientCertificates?: ClientCertificatePolicy;
  readonly onDemandCertificates?: OnDemandPolicy;
  readonly cors?: CorsPolicy;
  readonly auth?: BasicAuthPolicy;
  readonly rateLimit?: RateLimitPolicy;
  readonly redirect?: RedirectPolicy;
  readonly rewrite?: RewritePolicy;
  readonly requestHeaders?: HeaderEdits;
  readonly responseHeaders?: HeaderEdits;
  /** From the request to the head of its answer. */
  readonly timeoutMs?: number;
  /** From the request to the end of its answer; of a stream or a WebSocket too. */
  readonly totalTimeoutMs?: number;
  /** Instead of what the Entrypoint's traffic says. */
  readonly retries?: RetryPolicy;
  /** Of a request body. */
  readonly bodyBytes?: number;
}
