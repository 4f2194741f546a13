// A certificate authority of the platform: made once, its key sealed in the store. There are two, and what one has signed the other does
// not know: the one that browsers may trust for Apps is no key to the machines.

import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { isFailure } from '../../lib/failure.ts';
import { create } from '../../store/records.ts';
import type { Sealer } from '../config/sealer.ts';
import type { ControlContext } from '../context.ts';
import { authorityRecords } from './records.ts';
import type { CertificateAuthority } from './records.ts';
import { writeCertificate } from './x509.ts';
import type { CertificateUse, Name } from './x509.ts';

const DAY_MS = 86_400_000;
const AUTHORITY_DAYS = 3_650;
/** A clock that is a little behind shall not find the certificate too young. */
const BACKDATED_MS = 3_600_000;

export interface Authority {
  readonly certificatePem: string;
  /** A certificate for the key, as PEM without the authority's own. */
  sign(request: {
    readonly commonName: string;
    readonly publicKey: KeyObject;
    readonly use: CertificateUse;
    readonly untilMs: number;
  }): string;
}

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
  /** PKCS#8. */
  readonly keyPem: string;
}

/** Opens the authority of the store, or makes one. Throws what the store and the sealer refuse with. @param title as in lists of authorities */
export async function openAuthority(
  context: ControlContext,
  sealer: Sealer,
  { id, title }: { readonly id: string; readonly title: string },
): Promise<Authority> {
  const { view, clock, random } = context;
  let record = view.get(authorityRecords, id)?.document;
  if (record === undefined) {
    try {
      const made = makeAuthority(context, sealer, id, title);
      await view.commit(create(authorityRecords, made));
      record = made;
    } catch (error) {
      // Another control was first.
      if (!isFailure(error, 'exists') && !isFailure(error, 'conflict')) throw error;
      record = view.get(authorityRecords, id)?.document;
      if (record === undefined) throw error;
    }
  }
  const issuerKey = openAuthorityKey(sealer, record);
  const issuerPublicKey = createPublicKey(issuerKey);
  const issuer = authorityName(title, record.createdAtMs);
  return {
    certificatePem: record.certificatePem,
    sign: ({ commonName, publicKey, use, untilMs }) =>
      writeCertificate({
        serial: serial(random.bytes(16)),
        subject: { commonName: commonName.slice(0, 64), organization: 'Libra' },
        publicKey,
        issuer,
        issuerKey,
        issuerPublicKey,
        fromMs: clock.now() - BACKDATED_MS,
        untilMs,
        use,
      }),
  };
}

/** Throws what the sealer refuses with. */
export function openAuthorityKey(sealer: Sealer, { id, sealedKey }: CertificateAuthority): KeyObject {
  return createPrivateKey(sealer.open(sealedKey, sealedAs(id)).toString('utf8'));
}

function makeAuthority({ clock, random }: ControlContext, sealer: Sealer, id: string, title: string): CertificateAuthority {
  const { publicKey, privateKey, keyPem } = makePair();
  const createdAtMs = clock.now();
  const name = authorityName(title, createdAtMs);
  const certificatePem = writeCertificate({
    serial: serial(random.bytes(16)),
    subject: name,
    publicKey,
    issuer: name,
    issuerKey: privateKey,
    issuerPublicKey: publicKey,
    fromMs: createdAtMs - BACKDATED_MS,
    untilMs: createdAtMs + AUTHORITY_DAYS * DAY_MS,
    use: { kind: 'authority' },
  });
  return { id, certificatePem, sealedKey: sealer.seal(Buffer.from(keyPem, 'utf8'), sealedAs(id)), createdAtMs };
}

/** Told apart in a list of authorities by the day on which the platform began. */
function authorityName(title: string, createdAtMs: number): Name {
  return { commonName: `${title} ${new Date(createdAtMs).toISOString().slice(0, 10)}`, organization: 'Libra' };
}

export function makePair(): KeyPair {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { publicKey, privateKey, keyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString() };
}

function sealedAs(id: string): string {
  return `certificate-authorities/${id}`;
}

/** RFC 5280 §4.1.2.2: positive, and never zero. */
export function serial(bytes: Uint8Array): Uint8Array {
  const made = Uint8Array.from(bytes);
  made[0] = ((made[0] ?? 0) & 0x7f) | 0x40;
  return made;
}
