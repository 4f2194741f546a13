// What a Route does before a request goes on, in this order: who may ask (deny, allow), https, CORS preflight,
// client certificate, password, rate, redirect.
// (Forward authentication comes behind the password, mirroring behind the redirect, compression with the answer's fields.) A policy is
// compiled once for each rule; a rule without one costs a request nothing.

import type { RouteRule } from '../../api/dataplane.ts';
import type { Clock } from '../../lib/clock.ts';
import { createRanges, networkOf } from '../../model/address-range.ts';
import type { ClientCertificatePolicy, RedirectPolicy } from '../../model/route-policy.ts';
import type { RetryPolicy } from '../../model/traffic-policy.ts';
import { Fields } from '../../proxy/fields.ts';
import type { ClientCertificate, TlsFacts } from '../../proxy/message.ts';
import { pageText } from '../pages/situation.ts';
import type { Situation } from '../pages/situation.ts';
import { createBasicAuth, createHashing } from './basic-auth.ts';
import type { Verdict } from './basic-auth.ts';
import { createCors } from './cors.ts';
import { createPathEdit, editFields } from './edits.ts';
import { createRateLimiter } from './rate-limit.ts';
import type { RateState } from './rate-limit.ts';

/** A request as policies see it. */
export interface PolicyRequest {
  readonly method: string;
  readonly scheme: 'http' | 'https';
  /** Canonical, with its port where it has one. */
  readonly authority: string;
  /** Canonical. */
  readonly path: string;
  readonly query: string;
  readonly address: string;
  /** Of the connection to this Edge. */
  readonly tls: TlsFacts | null;
  readonly field: (lower: string) => string | undefined;
  /** Bytes of the body; negative where that is not known. */
  readonly length: number;
}

/** The request ends here: with a page for the situation, or with a status and fields alone. */
export interface PolicyAnswer {
  readonly status: number;
  readonly fields: Fields;
  readonly situation: Situation | null;
  /** A preflight says all that is to be said. */
  readonly isWhole?: true;
}

/** A policy at work on one request. */
export interface PolicyPass {
  /** Null: it goes on. */
  readonly answer: PolicyAnswer | null;
  /** Of a rate limit, for the fields of the answer. */
  readonly rate: RateState | null;
}

export interface CompiledPolicy {
  readonly timeoutMs: number | null;
  readonly totalTimeoutMs: number | null;
  /** Null: those of the group. */
  readonly retries: RetryPolicy | null;
  /** Infinity: none. */
  readonly bodyBytes: number;
  check(request: PolicyRequest): PolicyPass | Promise<PolicyPass>;
  /** Null where the path that comes of it is none. */
  path(path: string): string | null;
  readonly host: string | null;
  /** The certificate of the client, where this Route asks for one and it counts. */
  certificateOf(tls: TlsFacts | null): ClientCertificate | null;
  /** The fields that go on; the same object where nothing changes. */
  requestFields(fields: Fields): Fields;
  answerFields(fields: Fields, origin: string | undefined, rate: RateState | null): void;
}

export interface RoutePolicies {
  /** Null: it has none. */
  of(rule: RouteRule): CompiledPolicy | null;
}

/** Of what a client says about itself; more would fill memory. */
const KEY_LENGTH = 128;
const GO_ON: PolicyPass = { answer: null, rate: null };
const REFUSED: PolicyAnswer = { status: 403, fields: new Fields(), situation: { type: 'forbidden' } };

export function createRoutePolicies(deps: {
  readonly clock: Clock;
  /** Of the Edge's own listeners; null: there is none. */
  readonly ports: () => { readonly http: number | null; readonly https: number | null };
}): RoutePolicies {
  const hashing = createHashing();
  const compiled = new WeakMap<RouteRule, CompiledPolicy>();
  return {
    of: (rule) => {
      if (rule.policy === undefined) return null;
      let policy = compiled.get(rule);
      if (policy === undefined) {
        policy = compilePolicy(rule, rule.policy, deps, hashing);
        compiled.set(rule, policy);
      }
      return policy;
    },
  };
}

function compilePolicy(
  rule: RouteRule,
  policy: NonNullable<RouteRule['policy']>,
  deps: Parameters<typeof createRoutePolicies>[0],
  hashing: ReturnType<typeof createHashing>,
): CompiledPolicy {
  const { clock } = deps;
  const isDenied = policy.deny === undefined ? null : createRanges(policy.deny);
  const isAllowed = policy.allow === undefined ? null : createRanges(policy.allow);
  const cors = policy.cors === undefined ? null : createCors(policy.cors);
  const auth = policy.auth === undefined ? null : createBasicAuth(policy.auth, hashing, clock);
  const { clientCertificates: certificates, rateLimit, redirect, rewrite, requestHeaders, responseHeaders, bodyBytes = Infinity } = policy;
  const limiter = rateLimit === undefined ? null : createRateLimiter(rateLimit, clock);
  const redirectPath = redirect?.path === undefined ? null : createPathEdit(redirect.path, rule);
  const rewritePath = rewrite?.path === undefined ? null : createPathEdit(rewrite.path, rule);

  const rateKey = ({ address, field }: PolicyRequest): string => {
    const by = rateLimit?.by ?? 'address';
    if (by === 'address') return networkOf(address);
    if (by === 'route') return '';
    // Whoever does not say it shares with whoever else does not, at the same address.
    return field(by.header)?.slice(0, KEY_LENGTH) ?? `address ${networkOf(address)}`;
  };
  const behindPassword = (request: PolicyRequest): PolicyPass => {
    let rate: RateState | null = null;
    if (limiter !== null) {
      rate = limiter.take(rateKey(request));
      if (!rate.allowed) {
        const fields = Fields.of('Retry-After', String(rate.resetS));
        return { answer: { status: 429, fields, situation: { type: 'too_many' } }, rate };
      }
    }
    if (redirect !== undefined) return { answer: redirectAnswer(request, redirect, redirectPath), rate };
    if (request.length > bodyBytes)
      return { answer: { status: 413, fields: new Fields(), situation: { type: 'too_large', bytes: bodyBytes } }, rate };
    return rate === null ? GO_ON : { answer: null, rate };
  };
  const decide = (request: PolicyRequest, verdict: Verdict, challenge: string): PolicyPass => {
    if (verdict === 'right') return behindPassword(request);
    if (verdict === 'busy')
      return { answer: { status: 429, fields: Fields.of('Retry-After', '6'), situation: { type: 'too_many' } }, rate: null };
    return { answer: { status: 401, fields: Fields.of('WWW-Authenticate', challenge), situation: { type: 'unauthorized' } }, rate: null };
  };

  return {
    timeoutMs: policy.timeoutMs ?? null,
    totalTimeoutMs: policy.totalTimeoutMs ?? null,
    retries: policy.retries ?? null,
    bodyBytes,
    host: rewrite?.host ?? null,
    certificateOf: (tls) =>
      certificates !== undefined && tls?.asked === certificates.authority && tls.client?.problem === null ? tls.client : null,
    check: (request) => {
      if (isDenied?.(request.address) === true || isAllowed?.(request.address) === false) return { answer: REFUSED, rate: null };
      if ((policy.https === 'redirect' || certificates !== undefined) && request.scheme === 'http')
        return {
          answer: redirectAnswer(request, { status: 308, scheme: 'https', ...httpsPort(request.authority, deps.ports()) }, null),
          rate: null,
        };
      const preflight = cors?.preflight(request.method, request.field) ?? null;
      if (preflight !== null) return { answer: { status: 204, fields: preflight, situation: null, isWhole: true }, rate: null };
      if (certificates !== undefined) {
        const situation = withoutCertificate(request.tls, certificates);
        if (situation !== null) return { answer: { status: pageText(situation).status, fields: new Fields(), situation }, rate: null };
      }
      if (auth === null) return behindPassword(request);
      const verdict = auth.check(request.field('authorization'), request.address);
      if (typeof verdict === 'string') return decide(request, verdict, auth.challenge);
      return verdict.then((known) => decide(request, known, auth.challenge));
    },
    path: (path) => (rewritePath === null ? path : rewritePath(path)),
    requestFields: (fields) => {
      if (requestHeaders === undefined && auth === null) return fields;
      const edited = fields.copy();
      // It was meant for this Route.
      if (auth !== null) edited.delete('authorization');
      if (requestHeaders !== undefined) editFields(edited, requestHeaders);
      return edited;
    },
    answerFields: (fields, origin, rate) => {
      cors?.edit(fields, origin);
      if (rate !== null) {
        fields.set('RateLimit-Limit', String(rate.limit));
        fields.set('RateLimit-Remaining', String(rate.remaining));
        fields.set('RateLimit-Reset', String(rate.resetS));
      }
      if (responseHeaders !== undefined) editFields(fields, responseHeaders);
    },
  };
}

/** Why a request is not let in for want of a certificate; null: it is. */
function withoutCertificate(
  tls: TlsFacts | null,
  { authority, optional }: ClientCertificatePolicy,
): Extract<Situation, { readonly type: 'misdirected' | 'client_certificate' }> | null {
  // It was opened for another host, or before this was asked for (RFC 9110 §7.4); clients that can open another one do.
  if (tls?.asked !== authority) return { type: 'misdirected' };
  if (tls.client === null) return optional ? null : { type: 'client_certificate', problem: null };
  return tls.client.problem === null ? null : { type: 'client_certificate', problem: tls.client.problem };
}

/** Who came straight to the Edge's own port is sent to its own port for https; who came by the usual one, to the usual one. */
function httpsPort(authority: string, ports: { readonly http: number | null; readonly https: number | null }): { readonly port?: number } {
  const asked = /:(\d+)$/u.exec(authority)?.[1];
  return asked !== undefined && Number(asked) === ports.http && ports.https !== null && ports.https !== 443 ? { port: ports.https } : {};
}

function redirectAnswer(
  { scheme, authority, path, query }: PolicyRequest,
  redirect: RedirectPolicy,
  editPath: ((path: string) => string | null) | null,
): PolicyAnswer {
  const target = editPath === null ? path : editPath(path);
  if (target === null)
    return { status: 400, fields: new Fields(), situation: { type: 'bad_request', why: 'what the Route makes of the path is no path' } };
  const portAt = /:\d+$/u.exec(authority)?.index ?? authority.length;
  const moved = redirect.scheme !== undefined || redirect.host !== undefined || redirect.port !== undefined;
  const port = redirect.port === undefined ? (moved ? '' : authority.slice(portAt)) : `:${redirect.port}`;
  const location = `${redirect.scheme ?? scheme}://${redirect.host ?? authority.slice(0, portAt)}${port}${target}${query}`;
  return {
    status: redirect.status,
    fields: Fields.of(
      'Location',
      location,
      'Cache-Control',
      redirect.status === 301 || redirect.status === 308 ? 'max-age=3600' : 'no-store',
    ),
    situation: null,
  };
}
