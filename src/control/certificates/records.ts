// The platform's own certificate authority, its account with another one, and what that has issued, as they are stored.

import { defineCollection } from '../../store/collection.ts';
import type { Collection } from '../../store/collection.ts';

export interface CertificateAuthority {
  /** `local` for the hosts of Apps, `machines` for those that joined. */
  readonly id: string;
  readonly certificatePem: string;
  /** The private key as PKCS#8 PEM, sealed with AAD `certificate-authorities/<id>`. */
  readonly sealedKey: string;
  readonly createdAtMs: number;
}

export const authorityRecords: Collection<CertificateAuthority> = defineCollection<CertificateAuthority>({
  name: 'certificate-authorities',
});

export interface AcmeAccount {
  /** The URL of the authority's directory, as base64url of its SHA-256. */
  readonly id: string;
  readonly directory: string;
  /** PKCS#8 PEM, sealed with AAD `acme-accounts/<id>`. */
  readonly sealedKey: string;
  readonly createdAtMs: number;
}

export const acmeAccountRecords: Collection<AcmeAccount> = defineCollection<AcmeAccount>({ name: 'acme-accounts' });

/** A host that gets its certificate from an ACME authority. */
export interface Domain {
  /** The canonical host. */
  readonly id: string;
  /** The last one that was issued; it stays in force until its end, whatever becomes of the next. */
  readonly certificate: IssuedCertificate | null;
  /** Where DNS led before the last order, or instead of it; absent: it was not asked or did not say. */
  readonly addresses?: readonly string[];
  /** Orders that failed since. */
  readonly failures: number;
  /** Why the last order failed; null: it did not. */
  readonly reason: string | null;
  /** When to order: the first one, the next try, or the renewal. */
  readonly orderAtMs: number;
  /** No Route names it, but one covers it and its App has let it in; when that was, for the last time. Absent: a Route names it. */
  readonly onDemandSinceMs?: number;
}

export interface IssuedCertificate {
  /** Leaf first. */
  readonly chainPem: string;
  /** PKCS#8 PEM, sealed with AAD `domains/<id>`. */
  readonly sealedKey: string;
  readonly fromMs: number;
  readonly untilMs: number;
  /** Absent: http-01, or dns-01 where there is a hook. */
  readonly provenBy?: 'http-01' | 'tls-alpn-01' | 'dns-01';
}

export const domainRecords: Collection<Domain> = defineCollection<Domain>({ name: 'domains' });
