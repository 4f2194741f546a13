// Who an Instance is, as a token that anybody verifies who knows the platform's authority: a JWT (RFC 7519) which its Node has signed with
// the key of its machine, and which brings the certificate of that key (`x5c`, RFC 7515 §4.1.6). Nothing is asked of control for it, neither
// to sign nor to verify. Whether the Instance still runs on that Node is for whoever verifies to find out.

import { createPrivateKey, sign, verify, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Clock } from '../lib/clock.ts';
import { keyIdOf, machineIdOf, machineName } from './identity.ts';
import type { MachineIdentity } from './identity.ts';

/** How long a token is good. */
export const TOKEN_LIFE_MS = 900_000;
/** A clock that runs ahead by less is forgiven. */
const SKEW_MS = 60_000;
/** Of a whole token; a certificate with many names makes most of it. */
const MAX_LENGTH = 12_000;
const AUDIENCE = 'libra';
/** P1363: two numbers of 32 bytes (RFC 7518 §3.4). */
const SIGNATURE_BYTES = 64;
const TOKENS_KEPT = 4_096;
const CERTIFICATES_KEPT = 1_024;
/** Names and ids also stand in headers of requests: nothing else can be in them. */
const PLAIN = /^[\w.-]{1,100}$/u;

export interface InstanceClaims {
  readonly instanceId: string;
  readonly app: string;
  /** Its name. */
  readonly environment: string;
  readonly environmentId: string;
  readonly entrypoint: string;
}

export type Verified =
  | {
      readonly ok: true;
      readonly claims: InstanceClaims;
      /** The Node that says so, and the SHA-256 of the key with which it does, in hex. */
      readonly nodeId: string;
      readonly key: string;
      /** UTC milliseconds. */
      readonly expiresAtMs: number;
    }
  /** For people, as the end of a sentence. */
  | { readonly ok: false; readonly why: string };

type Accepted = Extract<Verified, { ok: true }>;

export interface TokenVerifier {
  /** A token that was seen before costs one look-up. Never throws. */
  verify(token: string): Verified;
}

/** A certificate that an authority of the platform has signed. */
interface Machine {
  readonly nodeId: string;
  readonly publicKey: KeyObject;
  readonly key: string;
  readonly fromMs: number;
  readonly untilMs: number;
}

interface Signer {
  /** Already encoded. */
  readonly header: string;
  readonly key: KeyObject;
}

const signers = new WeakMap<MachineIdentity, Signer>();

/** Reading key and certificate costs more than signing does. */
function signerOf(identity: MachineIdentity): Signer {
  const known = signers.get(identity);
  if (known !== undefined) return known;
  const der = new X509Certificate(identity.certificatePem).raw.toString('base64');
  const signer = { header: encode({ alg: 'ES256', typ: 'JWT', x5c: [der] }), key: createPrivateKey(identity.keyPem) };
  signers.set(identity, signer);
  return signer;
}

/** Good for fifteen minutes from now. Throws a TypeError where the claims are none. */
export function signInstanceToken(identity: MachineIdentity, claims: InstanceClaims, nowMs: number): string {
  const issued = Math.floor(nowMs / 1000);
  const { instanceId, app, environment, environmentId, entrypoint } = claims;
  const payload = {
    iss: machineName(identity.nodeId, 'node'),
    sub: instanceId,
    aud: AUDIENCE,
    iat: issued,
    exp: issued + TOKEN_LIFE_MS / 1000,
    app,
    environment,
    environmentId,
    entrypoint,
  };
  if (claimsOf(payload) === null) throw new TypeError(`what the token of Instance ${instanceId} shall say is nothing that it can`);
  const { header, key } = signerOf(identity);
  const signed = `${header}.${encode(payload)}`;
  return `${signed}.${sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}

/** @param authorityPem of all authorities that count; null: none is known yet. Asked at each verification */
export function createTokenVerifier(deps: {
  readonly authorityPem: () => string | null;
  readonly clock: Pick<Clock, 'now'>;
  /** Tokens that are remembered; default 4,096. */
  readonly kept?: number;
}): TokenVerifier {
  const most = deps.kept ?? TOKENS_KEPT;
  const tokens = new Map<string, Accepted>();
  const machines = new Map<string, Machine>();
  let authorityPem: string | null = null;
  let authorities: readonly X509Certificate[] = [];

  /** What was found by other authorities says nothing any more. */
  const followAuthority = (): void => {
    const now = deps.authorityPem();
    if (now === authorityPem) return;
    authorityPem = now;
    authorities = now === null ? [] : certificatesIn(now);
    tokens.clear();
    machines.clear();
  };

  const machineOf = (der: string): Machine | string => {
    const known = machines.get(der);
    if (known !== undefined) return known;
    const certificate = readCertificate(der);
    if (certificate === null) return 'it brings no certificate that can be read';
    const issuer = authorities.find((authority) => certificate.checkIssued(authority) && certificate.verify(authority.publicKey));
    if (issuer === undefined || certificate.ca) return 'its certificate is not one of this platform';
    const nodeId = machineIdOf(certificate, 'node');
    if (nodeId === null) return 'its certificate is not that of a Node';
    const { publicKey } = certificate;
    if (publicKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1') return 'the key of its certificate is of another kind';
    const [fromMs, untilMs] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)];
    const machine: Machine = { nodeId, publicKey, key: keyIdOf(publicKey), fromMs, untilMs };
    keep(machines, der, machine, CERTIFICATES_KEPT);
    return machine;
  };

  const remember = (token: string, verified: Accepted, nowMs: number): void => {
    // Those that came first are over first, near enough.
    for (const [known, { expiresAtMs }] of tokens) {
      if (expiresAtMs > nowMs) break;
      tokens.delete(known);
    }
    // A copy: as a piece of the request's head it would hold on to all of that.
    keep(tokens, Buffer.from(token, 'latin1').toString('latin1'), verified, most);
  };

  const verifyAnew = (token: string, nowMs: number): Verified => {
    if (token.length > MAX_LENGTH) return refuse('it is too long');
    const parts = token.split('.');
    const [head = '', body = '', tail = ''] = parts;
    const signature = decode(tail);
    if (parts.length !== 3 || signature?.length !== SIGNATURE_BYTES) return refuse(MALFORMED);
    const der = certificateIn(parse(head));
    if (der === null) return refuse('it is not signed in the one way that counts here (ES256, with one certificate)');
    if (authorities.length === 0) return refuse('the authority of the platform is not known here yet');
    const machine = machineOf(der);
    if (typeof machine === 'string') return refuse(machine);
    const isSigned = verify('sha256', Buffer.from(`${head}.${body}`), { key: machine.publicKey, dsaEncoding: 'ieee-p1363' }, signature);
    if (!isSigned) return refuse('its signature does not fit');
    const payload = claimsOf(parse(body));
    if (payload === null) return refuse(MALFORMED);
    const { issuer, fromMs, untilMs, claims } = payload;
    if (issuer !== machineName(machine.nodeId, 'node')) return refuse('it speaks for another Node than the one that has signed it');
    if (fromMs > nowMs + SKEW_MS) return refuse(`it is from ${timeText(fromMs)}, which is yet to come: the clock of its Node is ahead`);
    if (machine.fromMs > nowMs + SKEW_MS) return refuse(`its certificate counts from ${timeText(machine.fromMs)} on`);
    const expiresAtMs = Math.min(untilMs, machine.untilMs);
    const verified = { ok: true, claims, nodeId: machine.nodeId, key: machine.key, expiresAtMs } as const;
    if (expiresAtMs > nowMs) remember(token, verified, nowMs);
    return verified;
  };

  return {
    verify: (token) => {
      followAuthority();
      const nowMs = deps.clock.now();
      const verified = tokens.get(token) ?? verifyAnew(token, nowMs);
      if (!verified.ok || verified.expiresAtMs > nowMs) return verified;
      tokens.delete(token);
      return refuse(`it is over since ${timeText(verified.expiresAtMs)}`);
    },
  };
}

const MALFORMED = 'it has not the form of one';

function refuse(why: string): Verified {
  return { ok: false, why };
}

function timeText(atMs: number): string {
  return new Date(atMs).toISOString();
}

/** The oldest make room. */
function keep<V>(map: Map<string, V>, key: string, value: V, most: number): void {
  const [oldest] = map.size >= most ? map.keys() : [];
  if (oldest !== undefined) map.delete(oldest);
  map.set(key, value);
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/** null: it is not written in the one way in which these bytes can be. */
function decode(text: string, encoding: 'base64' | 'base64url' = 'base64url'): Buffer | null {
  const bytes = Buffer.from(text, encoding);
  return bytes.toString(encoding) === text ? bytes : null;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(decode(text)?.toString('utf8') ?? '');
  } catch {
    return null;
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Of the header, which says nothing else: what could change how it is read (`crit`, `jku`, `b64`) is not there. */
function certificateIn(header: unknown): string | null {
  if (!isRecord(header) || Object.keys(header).length !== 3) return null;
  const { alg, typ, x5c } = header;
  if (alg !== 'ES256' || typ !== 'JWT' || !Array.isArray(x5c) || x5c.length !== 1) return null;
  const [der]: readonly unknown[] = x5c;
  return typeof der === 'string' ? der : null;
}

function readCertificate(der: string): X509Certificate | null {
  const bytes = decode(der, 'base64');
  if (bytes === null) return null;
  try {
    const certificate = new X509Certificate(bytes);
    return certificate.raw.equals(bytes) ? certificate : null;
  } catch {
    return null;
  }
}

function certificatesIn(pem: string): readonly X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/gu) ?? [];
  return blocks.flatMap((block) => {
    try {
      return [new X509Certificate(block)];
    } catch {
      return [];
    }
  });
}

/** Claims that are not known here are for others. null: those that are do not hold together. */
function claimsOf(
  payload: unknown,
): { readonly issuer: string; readonly fromMs: number; readonly untilMs: number; readonly claims: InstanceClaims } | null {
  if (!isRecord(payload)) return null;
  const { iss, sub, aud, iat, exp, app, environment, environmentId, entrypoint } = payload;
  if (!isPlain(iss) || aud !== AUDIENCE || !isTime(iat) || !isTime(exp)) return null;
  if (exp <= iat || exp - iat > TOKEN_LIFE_MS / 1000) return null;
  if (!isPlain(sub) || !isPlain(app) || !isPlain(environment) || !isPlain(environmentId) || !isPlain(entrypoint)) return null;
  const claims = { instanceId: sub, app, environment, environmentId, entrypoint };
  return { issuer: iss, fromMs: iat * 1000, untilMs: exp * 1000, claims };
}

const isPlain = (value: unknown): value is string => typeof value === 'string' && PLAIN.test(value);
/** Whole seconds within what a date can be. */
const isTime = (value: unknown): value is number =>
  Number.isSafeInteger(value) && typeof value === 'number' && value > 0 && value < 8.64e12;
