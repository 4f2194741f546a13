// A certificate authority of the platform's own, so that https works from the first minute on any host name. It is made once, its key is
// sealed in the store, and whoever trusts its certificate trusts every App of this platform and nothing else.

import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { isFailure } from '../../lib/failure.ts';
import { create } from '../../store/records.ts';
import type { Sealer } from '../config/sealer.ts';
import type { ControlContext } from '../context.ts';
import { authorityRecords } from './records.ts';
import type { CertificateAuthority } from './records.ts';
import { writeCertificate } from './x509.ts';
import type { Name } from './x509.ts';

const DAY_MS = 86_400_000;
const AUTHORITY_DAYS = 3_650;
/** Within what browsers take of a private authority, and renewed long before. */
const SERVER_DAYS = 90;
const RENEW_BEFORE_DAYS = 30;
/** A clock that is a little behind shall not find the certificate too young. */
const BACKDATED_MS = 3_600_000;
const ID = 'local';

export interface ServerCertificate {
  readonly name: string;
  /** Leaf and authority. */
  readonly chainPem: string;
  readonly keyPem: string;
  readonly untilMs: number;
}

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
  /** PKCS#8. */
  readonly keyPem: string;
}

export interface LocalAuthority {
  readonly certificatePem: string;
  /** A certificate for the host name, wildcard or address; the same one until it is nearly over. */
  issue(name: string): ServerCertificate;
  forget(name: string): void;
}

/** Opens the authority of the store, or makes one. Throws what the store and the sealer refuse with. */
export async function openLocalAuthority(context: ControlContext, sealer: Sealer): Promise<LocalAuthority> {
  const { view, clock, random } = context;
  let record = view.get(authorityRecords, ID)?.document;
  if (record === undefined) {
    try {
      const made = makeAuthority(context, sealer);
      await view.commit(create(authorityRecords, made));
      record = made;
    } catch (error) {
      // Another control was first.
      if (!isFailure(error, 'exists') && !isFailure(error, 'conflict')) throw error;
      record = view.get(authorityRecords, ID)?.document;
      if (record === undefined) throw error;
    }
  }
  const { certificatePem } = record;
  const issuerKey = createPrivateKey(sealer.open(record.sealedKey, sealedAs(record.id)).toString('utf8'));
  const issuerPublicKey = createPublicKey(issuerKey);
  const issuer = authorityName(record.createdAtMs);
  // One key for all: they end on the same Edges, and a key costs more than a signature.
  let pair: KeyPair | null = null;
  const issued = new Map<string, ServerCertificate>();

  return {
    certificatePem,
    issue: (name) => {
      const now = clock.now();
      const existing = issued.get(name);
      if (existing !== undefined && existing.untilMs - now > RENEW_BEFORE_DAYS * DAY_MS) return existing;
      pair ??= makePair();
      const untilMs = now + SERVER_DAYS * DAY_MS;
      const leaf = writeCertificate({
        serial: serial(random.bytes(16)),
        subject: { commonName: name.slice(0, 64), organization: 'Libra' },
        publicKey: pair.publicKey,
        issuer,
        issuerKey,
        issuerPublicKey,
        fromMs: now - BACKDATED_MS,
        untilMs,
        use: { kind: 'server', names: [name] },
      });
      const made = { name, chainPem: leaf + certificatePem, keyPem: pair.keyPem, untilMs };
      issued.set(name, made);
      return made;
    },
    forget: (name) => {
      issued.delete(name);
    },
  };
}

function makeAuthority({ clock, random }: ControlContext, sealer: Sealer): CertificateAuthority {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const createdAtMs = clock.now();
  const name = authorityName(createdAtMs);
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
  const keyPem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
  return { id: ID, certificatePem, sealedKey: sealer.seal(Buffer.from(keyPem, 'utf8'), sealedAs(ID)), createdAtMs };
}

/** Told apart in a list of authorities by the day on which the platform began. */
function authorityName(createdAtMs: number): Name {
  return { commonName: `Libra local authority ${new Date(createdAtMs).toISOString().slice(0, 10)}`, organization: 'Libra' };
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
