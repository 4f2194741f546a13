// A Route of the manifest: what it asks of a request and what it does with it; what the file may say, and what then counts.

import type { z } from 'zod';
import { isRange } from './address-range.ts';
import { ANY_HOST } from './host.ts';
import { either, field, found, isRecord, list, mapOf, section } from './manifest-fields.ts';
import type { At } from './manifest-fields.ts';
import { completeRetries, retriesSection } from './manifest-traffic.ts';
import type { RouteSpec } from './manifest-types.ts';
import { bool, duration, headerName, host, integer, oneOf, port, probePath, routeHost, text, urlPath } from './manifest-values.ts';
import { parsePasswordHash } from './password-hash.ts';
import { patternProblem } from './patterns.ts';
import { parseBytes } from './quantity.ts';
import type { RouteMatch, ValueMatch } from './route-match.ts';
import type { CorsPolicy, HeaderEdits, PathEdit, RedirectPolicy, RoutePolicy } from './route-policy.ts';

const DAY_MS = 86_400_000;
const MAX_BODY_BYTES = 2 ** 50;
const STATUSES = [301, 302, 303, 307, 308] as const;
const HEADER = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/u;
const VALUE = /^[\t\x20-\x7e]{0,1000}$/u;
/** Between the proxy and its neighbours, or said by the Edge alone: no Route may write them. */
const NOT_EDITED =
  /^(?:host|connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|content-length|expect|forwarded|x-forwarded-.*|x-real-ip|x-request-id|x-libra-.*|traceparent|tracestate)$/iu;

const pattern = field('a pattern over the whole text, such as "/v(\\d+)/.*"', (value) => {
  if (typeof value !== 'string' || value === '') return undefined;
  const problem = patternProblem(value);
  return problem === null ? value : new Error(`is no pattern: it ${problem.replace(/^Invalid/u, 'has an invalid')}`);
});

const plainValue = text('a value in quotes', (value) => VALUE.test(value));
const valueMatch = either(plainValue, one(section({ pattern: pattern.optional(), present: bool.optional() }), ['pattern', 'present']));
const headerMatches = mapOf('headers', (key) => (HEADER.test(key) ? null : 'is not a valid header name'), valueMatch, 20);
const namedMatches = (what: string): z.ZodType<Readonly<Record<string, ValueOf<typeof valueMatch>>>> =>
  mapOf(what, (key) => (key.length > 0 && key.length <= 100 ? null : 'is no name'), valueMatch, 20);
const range = text('an address or a range such as 10.0.0.0/8', isRange);
export const method: z.ZodType<string> = text('a method in capitals, such as GET', (value) => /^[A-Z][A-Z-]{0,31}$/u.test(value));

type ValueOf<S> = S extends z.ZodType<infer T> ? T : never;

/** Exactly one of the keys of a mapping. */
function one<S extends z.ZodType<Readonly<Record<string, unknown>>>>(choices: S, keys: readonly string[]): S {
  return choices.check((context) => {
    const given = keys.filter((key) => context.value[key] !== undefined);
    if (given.length === 1) return;
    context.issues.push(
      given[1] === undefined
        ? { code: 'custom', message: `expected one of ${keys.join(', ')}`, path: [], input: context.value }
        : {
            code: 'custom',
            message: `cannot stand next to ${given[0]}`,
            path: [given[1]],
            params: { at: 'key' satisfies At },
            input: given[1],
          },
    );
  });
}

const place = either(
  urlPath,
  one(section({ prefix: urlPath.optional(), exact: urlPath.optional(), pattern: pattern.optional() }), ['prefix', 'exact', 'pattern']),
);

const editedHeader = (key: string): string | null => {
  if (!HEADER.test(key)) return 'is not a valid header name';
  return NOT_EDITED.test(key) ? 'is written by the Edge alone or belongs to one connection: a Route cannot edit it' : null;
};
const edits = section({
  set: mapOf('headers', editedHeader, plainValue, 20).optional(),
  add: mapOf('headers', editedHeader, plainValue, 20).optional(),
  remove: list(
    field('the name of a header field', (value) => {
      if (typeof value !== 'string') return undefined;
      const trouble = editedHeader(value);
      return trouble === null ? value : new Error(trouble);
    }),
    'headers',
    20,
  ).optional(),
});

/** `/new`; `{prefix: /new}` in place of what the Route's prefix covers; with a pattern, `$1` is its first group. */
const pathEdit = either(
  text('a path that starts with /', (value) => /^\/[\x21-\x7e]{0,999}$/u.test(value) && !/[?#]/u.test(value)),
  section({ prefix: urlPath }),
);

const redirect = either(
  field('an URL such as https://shop.example.com/new, or a mapping', (value) => {
    if (typeof value !== 'string') return undefined;
    const url = URL.parse(value);
    if (url === null || !/^https?:$/u.test(url.protocol) || url.search !== '' || url.hash !== '' || url.username !== '') return undefined;
    return url;
  }),
  section({
    status: field(`one of ${STATUSES.join(', ')}`, (value) => STATUSES.find((status) => status === value)).optional(),
    scheme: oneOf(['http', 'https']).optional(),
    host: host.optional(),
    port: port.optional(),
    path: pathEdit.optional(),
  }).check((context) => {
    const { scheme, host: name, port: number, path } = context.value;
    if (scheme === undefined && name === undefined && number === undefined && path === undefined)
      context.issues.push({
        code: 'custom',
        message: 'leads back to the same place: expected scheme, host, port or path',
        path: [],
        input: context.value,
      });
  }),
);

const origin = field('an origin such as https://shop.example.com, https://*.example.com or "*"', (value) => {
  if (typeof value !== 'string') return undefined;
  return value === '*' || /^https?:\/\/(?:\*\.)?[a-z0-9.-]{1,253}(?::\d{1,5})?$/u.test(value)
    ? value
    : new Error(`expected an origin without a path, in lower case, ${found(value)}`);
});

const cors = section({
  origins: list(origin, 'origins', 50),
  methods: list(method, 'methods', 20).optional(),
  headers: list(headerName, 'headers', 50).optional(),
  expose: list(headerName, 'headers', 50).optional(),
  credentials: bool.optional(),
  maxAge: duration(0, DAY_MS).optional(),
}).check((context) => {
  if (context.value.credentials === true && context.value.origins.includes('*'))
    context.issues.push({
      code: 'custom',
      message: 'cannot stand next to the origin "*": every page could act as its visitor',
      path: ['credentials'],
      params: { at: 'key' satisfies At },
      input: true,
    });
});

const rateLimit = section({
  requests: integer(1, 1_000_000),
  per: duration(1_000, DAY_MS).optional(),
  burst: integer(1, 1_000_000).optional(),
  by: either(oneOf(['address', 'route']), section({ header: headerName })).optional(),
});

const auth = section({
  realm: text('a name without quotes', (value) => /^[\x20\x21\x23-\x5b\x5d-\x7e]{1,100}$/u.test(value)).optional(),
  users: mapOf(
    'users',
    (key) => (/^[^:\s]{1,100}$/u.test(key) ? null : 'is no name of a user'),
    text('a hash as `libra routes hash` makes it', (value) => parsePasswordHash(value) !== null),
    100,
  ),
});

const MAX_AUTHORITY = 16 * 1024;
const clientCertificates = section({
  authority: field('certificates of authorities in PEM, of at most 16 KiB', (value) => {
    if (typeof value !== 'string') return undefined;
    if (/PRIVATE KEY/u.test(value)) return new Error('holds a private key: only the certificate of the authority belongs here');
    const isPem = /^(?:\s*-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----)+\s*$/u.test(value);
    return isPem && value.length <= MAX_AUTHORITY ? value : undefined;
  }),
  optional: bool.optional(),
});

const bodyLimit = field('an amount such as 1Mi', (value) => {
  const amount = typeof value === 'string' ? parseBytes(value) : typeof value === 'number' && Number.isSafeInteger(value) ? value : null;
  return amount === null || amount < 0 || amount > MAX_BODY_BYTES ? undefined : amount;
});

export const routeSection = section({
  host: routeHost.optional(),
  path: place.optional(),
  match: section({
    methods: list(method, 'methods', 20).optional(),
    headers: headerMatches.optional(),
    query: namedMatches('parameters').optional(),
    cookies: mapOf('cookies', (key) => (HEADER.test(key) ? null : 'is not a valid cookie name'), valueMatch, 20).optional(),
    sources: list(range, 'ranges', 100).optional(),
    userAgent: valueMatch.optional(),
  }).optional(),
  allow: list(range, 'ranges', 1_000).optional(),
  deny: list(range, 'ranges', 1_000).optional(),
  https: oneOf(['redirect']).optional(),
  clientCertificates: clientCertificates.optional(),
  onDemandCertificates: section({ ask: probePath }).optional(),
  cors: cors.optional(),
  auth: auth.optional(),
  rateLimit: rateLimit.optional(),
  redirect: redirect.optional(),
  rewrite: section({ host: host.optional(), path: pathEdit.optional() }).optional(),
  headers: section({ request: edits.optional(), response: edits.optional() }).optional(),
  timeout: duration(10, DAY_MS).optional(),
  totalTimeout: duration(10, 7 * DAY_MS).optional(),
  retries: retriesSection.optional(),
  body: bodyLimit.optional(),
}).check((context) => {
  const { redirect: to, rewrite, path, host: its } = context.value;
  const refuse = (at: readonly string[], message: string): void =>
    void context.issues.push({ code: 'custom', message, path: [...at], params: { at: 'key' satisfies At }, input: context.value });
  if (to !== undefined && rewrite !== undefined)
    refuse(['rewrite'], 'cannot stand next to redirect: what is sent elsewhere is not sent on');
  if (context.value.clientCertificates !== undefined && its === ANY_HOST)
    refuse(['clientCertificates'], 'needs a named host or a wildcard: clients are asked for certificates by the host that they name');
  if (context.value.onDemandCertificates !== undefined && its?.startsWith('*') !== true)
    refuse(['onDemandCertificates'], 'has no meaning for a single host, whose certificate is there already: it takes "*" or a wildcard');
  const isPrefix = !isRecord(path) || (path['exact'] === undefined && path['pattern'] === undefined);
  for (const [key, edit] of [
    ['redirect', to === undefined || to instanceof URL ? undefined : to.path],
    ['rewrite', rewrite?.path],
  ] as const)
    if (isRecord(edit) && !isPrefix) refuse([key, 'path', 'prefix'], 'stands for what a prefix covers, and the path of this Route is none');
});

export type RouteInput = z.output<typeof routeSection>;
export type PlaceInput = RouteInput['path'];

/** Where the Route stands. */
export function placeOf(path: PlaceInput): Pick<RouteSpec, 'path' | 'pathType'> {
  if (path === undefined || typeof path === 'string') return { path: path ?? '/' };
  if (path.exact !== undefined) return { path: path.exact, pathType: 'exact' };
  if (path.pattern !== undefined) return { path: path.pattern, pathType: 'pattern' };
  return { path: path.prefix ?? '/' };
}

type MatchesInput = Readonly<Record<string, ValueOf<typeof valueMatch>>>;

function valueOf(input: ValueOf<typeof valueMatch>): ValueMatch {
  if (typeof input === 'string') return input;
  return input.pattern === undefined ? { present: input.present ?? true } : { pattern: input.pattern };
}

function valuesOf(input: MatchesInput | undefined, lower = false): Readonly<Record<string, ValueMatch>> {
  return Object.fromEntries(Object.entries(input ?? {}).map(([name, match]) => [lower ? name.toLowerCase() : name, valueOf(match)]));
}

export function matchOf(input: RouteInput['match']): RouteMatch {
  const { methods, headers, query, cookies, sources, userAgent } = input ?? {};
  return {
    headers: { ...valuesOf(headers, true), ...(userAgent === undefined ? {} : { 'user-agent': valueOf(userAgent) }) },
    ...(methods === undefined ? {} : { methods }),
    ...(query === undefined ? {} : { query: valuesOf(query) }),
    ...(cookies === undefined ? {} : { cookies: valuesOf(cookies) }),
    ...(sources === undefined ? {} : { sources }),
  };
}

function editOf(edit: ValueOf<typeof pathEdit>, isPattern: boolean): PathEdit {
  if (typeof edit !== 'string') return { kind: 'prefix', value: edit.prefix };
  return { kind: isPattern ? 'pattern' : 'full', value: edit };
}

function redirectOf(input: ValueOf<typeof redirect>, isPattern: boolean): RedirectPolicy {
  if (input instanceof URL) {
    return {
      status: 302,
      scheme: input.protocol === 'https:' ? 'https' : 'http',
      host: input.hostname,
      ...(input.port === '' ? {} : { port: Number(input.port) }),
      ...(input.pathname === '/' ? {} : { path: { kind: 'full', value: input.pathname } }),
    };
  }
  const { status, path, ...rest } = input;
  return { status: status ?? 302, ...defined(rest), ...(path === undefined ? {} : { path: editOf(path, isPattern) }) };
}

/** Without the keys that are not said. */
function defined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  // Only keys with a value are left.
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined)) as { [K in keyof T]: Exclude<T[K], undefined> };
}

function corsOf({ origins, methods, headers, expose, credentials, maxAge }: ValueOf<typeof cors>): CorsPolicy {
  return {
    origins,
    methods: methods ?? ['GET', 'HEAD', 'POST'],
    headers: headers ?? [],
    expose: expose ?? [],
    credentials: credentials ?? false,
    maxAgeS: Math.floor((maxAge ?? 600_000) / 1_000),
  };
}

function policyOf(input: RouteInput): RoutePolicy | undefined {
  const { allow, deny, https, auth: login, rateLimit: rate, redirect: to, rewrite, headers, timeout, totalTimeout, body } = input;
  const isPattern = placeOf(input.path).pathType === 'pattern';
  const edited = (edit: ValueOf<typeof edits> | undefined): HeaderEdits | undefined => (edit === undefined ? undefined : defined(edit));
  const policy = defined({
    allow,
    deny,
    https,
    clientCertificates:
      input.clientCertificates === undefined
        ? undefined
        : { authority: input.clientCertificates.authority, optional: input.clientCertificates.optional ?? false },
    onDemandCertificates: input.onDemandCertificates,
    cors: input.cors === undefined ? undefined : corsOf(input.cors),
    auth: login === undefined ? undefined : { realm: login.realm ?? 'restricted', users: login.users },
    rateLimit:
      rate === undefined
        ? undefined
        : { requests: rate.requests, perMs: rate.per ?? 1_000, burst: rate.burst ?? rate.requests, by: rate.by ?? ('address' as const) },
    redirect: to === undefined ? undefined : redirectOf(to, isPattern),
    rewrite:
      rewrite === undefined
        ? undefined
        : defined({ host: rewrite.host, path: rewrite.path === undefined ? undefined : editOf(rewrite.path, isPattern) }),
    requestHeaders: edited(headers?.request),
    responseHeaders: edited(headers?.response),
    timeoutMs: timeout,
    totalTimeoutMs: totalTimeout,
    retries: input.retries === undefined ? undefined : completeRetries(input.retries),
    bodyBytes: body,
  });
  return Object.keys(policy).length === 0 ? undefined : policy;
}

export function completeRoute(input: RouteInput): RouteSpec {
  const policy = policyOf(input);
  return { host: input.host ?? '', ...placeOf(input.path), match: matchOf(input.match), ...(policy === undefined ? {} : { policy }) };
}
