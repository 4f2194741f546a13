// Writes X.509 certificates (RFC 5280) with ECDSA on P-256. node:crypto reads certificates and signs, but does not write them; the
// libraries that do would cost control more memory than everything else that it does with certificates.

import { createHash, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { isIP } from 'node:net';
import { bitString, boolean, context, integer, namedBits, objectId, octets, sequence, set, time, utf8 } from './der.ts';

const OID = {
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyId: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  acmeIdentifier: '1.3.6.1.5.5.7.1.31',
} as const;

export interface Name {
  readonly commonName: string;
  readonly organization: string;
}

export type CertificateUse =
  /** May sign others. */
  | { readonly kind: 'authority' }
  /** Host names, wildcards or IP addresses. */
  | { readonly kind: 'server'; readonly names: readonly string[] }
  | { readonly kind: 'client' }
  /** Both ends of connections between machines. */
  | { readonly kind: 'machine'; readonly names: readonly string[] }
  /** Answers an ACME authority (RFC 8737 §3). @param digest SHA-256 of the key authorization. */
  | { readonly kind: 'challenge'; readonly name: string; readonly digest: Uint8Array };

export interface CertificateRequest {
  /** Positive; at most 20 bytes. */
  readonly serial: Uint8Array;
  readonly subject: Name;
  readonly publicKey: KeyObject;
  readonly issuer: Name;
  readonly issuerKey: KeyObject;
  readonly issuerPublicKey: KeyObject;
  readonly fromMs: number;
  readonly untilMs: number;
  readonly use: CertificateUse;
}

/** The certificate as PEM. */
export function writeCertificate(request: CertificateRequest): string {
  const algorithm = sequence(objectId(OID.ecdsaWithSha256));
  const body = sequence(
    context(0, integer(Buffer.of(2)), true),
    integer(request.serial),
    algorithm,
    name(request.issuer),
    sequence(time(request.fromMs), time(request.untilMs)),
    name(request.subject),
    publicKeyInfo(request.publicKey),
    context(3, sequence(...extensions(request)), true),
  );
  const signature = sign('sha256', body, request.issuerKey);
  const base64 = sequence(body, algorithm, bitString(signature)).toString('base64');
  return `-----BEGIN CERTIFICATE-----\n${(base64.match(/.{1,64}/gu) ?? []).join('\n')}\n-----END CERTIFICATE-----\n`;
}

function extensions(request: CertificateRequest): Buffer[] {
  const { use } = request;
  const own = extension(OID.subjectKeyId, false, octets(keyId(request.publicKey)));
  const authority = extension(OID.authorityKeyId, false, sequence(context(0, keyId(request.issuerPublicKey), false)));
  if (use.kind === 'authority') {
    return [
      // It signs servers, never further authorities.
      extension(OID.basicConstraints, true, sequence(boolean(true), integer(Buffer.of(0)))),
      extension(OID.keyUsage, true, namedBits(false, false, false, false, false, true, true)),
      own,
      authority,
    ];
  }
  return [
    extension(OID.basicConstraints, true, sequence()),
    extension(OID.keyUsage, true, namedBits(true)),
    extension(OID.extendedKeyUsage, false, sequence(...purposesOf(use).map(objectId))),
    ...namesOf(use),
    own,
    authority,
  ];
}

function purposesOf({ kind }: CertificateUse): string[] {
  if (kind === 'machine') return [OID.serverAuth, OID.clientAuth];
  return [kind === 'client' ? OID.clientAuth : OID.serverAuth];
}

function namesOf(use: CertificateUse): Buffer[] {
  if (use.kind === 'server' || use.kind === 'machine')
    return [extension(OID.subjectAltName, false, sequence(...use.names.map(generalName)))];
  if (use.kind !== 'challenge') return [];
  return [extension(OID.subjectAltName, false, sequence(generalName(use.name))), extension(OID.acmeIdentifier, true, octets(use.digest))];
}

function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return critical ? sequence(objectId(id), boolean(true), octets(value)) : sequence(objectId(id), octets(value));
}

function name({ commonName, organization }: Name): Buffer {
  const part = (id: string, text: string): Buffer => set(sequence(objectId(id), utf8(text)));
  return sequence(part(OID.organization, organization), part(OID.commonName, commonName));
}

function generalName(value: string): Buffer {
  const version = isIP(value);
  if (version === 0) return context(2, Buffer.from(value, 'ascii'), false);
  if (version === 4) return context(7, Buffer.from(value.split('.').map(Number)), false);
  return context(7, ipv6Bytes(value), false);
}

function ipv6Bytes(value: string): Buffer {
  const [left = '', right] = value.split('::');
  const groups = (text: string): number[] => (text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16)));
  const [before, after] = [groups(left), groups(right ?? '')];
  const middle = right === undefined ? [] : Array.from({ length: 8 - before.length - after.length }, () => 0);
  return Buffer.from([...before, ...middle, ...after].flatMap((group) => [group >> 8, group & 0xff]));
}

function publicKeyInfo(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'spki' });
}

/** RFC 5280 §4.2.1.2, method 1 over the whole key information: it only has to be the same on both ends. */
function keyId(key: KeyObject): Buffer {
  return createHash('sha256').update(publicKeyInfo(key)).digest().subarray(0, 20);
}
