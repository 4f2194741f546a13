// Which certificate a client gets, by the name that it asks for. The list is swapped as a whole; a context is made when it is first asked
// for, and only so many are kept, so that thousands of certificates cost no more than their text.

import { createSecureContext } from 'node:tls';
import type { SecureContext } from 'node:tls';
import type { TableCertificate } from '../../api/dataplane.ts';
import { canonicalHost } from '../../model/host.ts';

export interface Certificates {
  change(put: readonly TableCertificate[], remove: readonly string[]): void;
  /** For a server name as a client sent it; null where there is none. */
  contextFor(serverName: string): SecureContext | null;
  size(): number;
}

const KEPT_CONTEXTS = 1_000;

/** Names of TLS 1.2 suites with forward secrecy and authenticated encryption (Mozilla's intermediate list); those of 1.3 are all fine. */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

export const TLS_VERSIONS = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3', ciphers: CIPHERS, honorCipherOrder: false } as const;

export function createCertificates(): Certificates {
  const byName = new Map<string, TableCertificate>();
  /** In the order of their last use. */
  const contexts = new Map<TableCertificate, SecureContext>();

  const find = (serverName: string): TableCertificate | null => {
    const host = canonicalHost(serverName);
    if (host === null) return null;
    const dot = host.indexOf('.');
    return byName.get(host) ?? (dot === -1 ? undefined : byName.get(`*${host.slice(dot)}`)) ?? null;
  };

  return {
    change: (put, remove) => {
      const forget = (name: string): void => {
        const known = byName.get(name);
        if (known !== undefined) contexts.delete(known);
        byName.delete(name);
      };
      for (const name of remove) forget(name);
      for (const certificate of put) {
        forget(certificate.name);
        byName.set(certificate.name, certificate);
      }
    },
    contextFor: (serverName) => {
      const certificate = find(serverName);
      if (certificate === null) return null;
      let context = contexts.get(certificate);
      if (context === undefined) {
        context = createSecureContext({ ...TLS_VERSIONS, cert: certificate.chainPem, key: certificate.keyPem });
        const [oldest] = contexts.keys();
        if (contexts.size >= KEPT_CONTEXTS && oldest !== undefined) contexts.delete(oldest);
      } else contexts.delete(certificate);
      contexts.set(certificate, context);
      return context;
    },
    size: () => byName.size,
  };
}
