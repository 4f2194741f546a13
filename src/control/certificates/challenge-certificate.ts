// What a host shows to an ACME authority that asks by TLS (tls-alpn-01, RFC 8737): a certificate that no client would trust, with the answer in it.

import { createHash } from 'node:crypto';
import type { TableCertificate } from '../../api/dataplane.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Random } from '../../lib/id.ts';
import { makePair, serial } from './authority.ts';
import { writeCertificate } from './x509.ts';

const DAY_MS = 86_400_000;

/** @param keyAuthorization of RFC 8555 §8.1. */
export function challengeCertificate(
  host: string,
  keyAuthorization: string,
  deps: { readonly clock: Clock; readonly random: Random },
): TableCertificate {
  const { publicKey, privateKey, keyPem } = makePair();
  const name = { commonName: 'ACME challenge', organization: 'Libra' };
  const now = deps.clock.now();
  const untilMs = now + DAY_MS;
  const chainPem = writeCertificate({
    serial: serial(deps.random.bytes(16)),
    subject: name,
    publicKey,
    issuer: name,
    issuerKey: privateKey,
    issuerPublicKey: publicKey,
    fromMs: now - DAY_MS,
    untilMs,
    use: { kind: 'challenge', name: host, digest: createHash('sha256').update(keyAuthorization).digest() },
  });
  return { name: host, chainPem, keyPem, untilMs };
}
