// The platform's own certificate authority, as it is stored.

import { defineCollection } from '../../store/collection.ts';
import type { Collection } from '../../store/collection.ts';

export interface CertificateAuthority {
  /** `local`: there is one. */
  readonly id: string;
  readonly certificatePem: string;
  /** The private key as PKCS#8 PEM, sealed with AAD `certificate-authorities/<id>`. */
  readonly sealedKey: string;
  readonly createdAtMs: number;
}

export const authorityRecords: Collection<CertificateAuthority> = defineCollection<CertificateAuthority>({
  name: 'certificate-authorities',
});
