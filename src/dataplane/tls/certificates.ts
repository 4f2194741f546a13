// Which certificate a client gets by the name that it asks for, and whose certificate it is asked for in turn. The list is swapped as a whole; a context is made when it is first asked
// for, and only so many are kept, so that thousands of certificates cost no more than their text.

import { createSecureContext } from 'node:tls';
import type { SecureContext } from 'node:tls';
import type { RouteRule, TableCertificate } from '../../api/dataplane.ts';
import { canonicalHost } from '../../model/host.ts';
import { createHostRules } from './host-rules.ts';

export interface Certificates {
  change(put: readonly TableCertificate[], remove: readonly string[]): void;
  /** For a server name as a client sent it; null where there is none. */
  contextFor(serverName: string): SecureContext | null;
  /** There is one of this very name, a wildcard spelled out. */
  has(name: string): boolean;
  /** What clients are asked for, by the Routes in force. Rules are removed by routeKey. */
  changeRules(put: Iterable<RouteRule>, remove: readonly string[]): void;
  /** All that are shown to ACME authorities. */
  setChallenges(certificates: readonly TableCertificate[]): void;
  /** As contextFor, for who asks by acme-tls/1. */
  challengeFor(serverName: string): SecureContext | null;
  /** The authorities of which clients of this name are asked for a certificate (PEM); null: they are asked for none. */
  askedFor(serverName: string): string | null;
  /** What sessions are resumed by from now on; the same for all Edges. */
  setTicketKey(key: Buffer): void;
  /** Calls at once where there is one, and whenever there is another. */
  onTicketKey(listener: (key: Buffer) => void): void;
  /** Counts the changes of what clients are asked for: a handshake that began before one proves nothing afterwards. */
  readonly askedChanges: number;
  /** Whether it matters what a client says first: somebody is asked for a certificate, or an ACME authority may come. */
  readonly choosy: boolean;
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

function contextOf({ chainPem, keyPem }: TableCertificate, authority: string | null): SecureContext {
  return createSecureContext({ ...TLS_VERSIONS, cert: chainPem, key: keyPem, ...(authority === null ? {} : { ca: authority }) });
}

export function createCertificates(): Certificates {
  const byName = new Map<string, TableCertificate>();
  /** In the order of their last use. */
  const contexts = new Map<TableCertificate, { readonly authority: string | null; readonly context: SecureContext }>();

  /** Where Routes of one host differ one counts: the others let nobody in. */
  const asked = createHostRules((rule) => rule.policy?.clientCertificates?.authority);
  let askedChanges = 0;
  let challenges = new Map<string, TableCertificate>();
  let ticketKey: Buffer | null = null;
  const ticketListeners: ((key: Buffer) => void)[] = [];

  const find = <T>(by: { get(name: string): T | undefined }, serverName: string): T | null => {
    const host = canonicalHost(serverName);
    if (host === null) return null;
    const dot = host.indexOf('.');
    return by.get(host) ?? (dot === -1 ? undefined : by.get(`*${host.slice(dot)}`)) ?? null;
  };
  const askedFor = (serverName: string): string | null => (asked.size === 0 ? null : find(asked, serverName));

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
      const certificate = find(byName, serverName);
      if (certificate === null) return null;
      const authority = askedFor(serverName);
      let made = contexts.get(certificate);
      contexts.delete(certificate);
      if (made?.authority !== authority) {
        made = { authority, context: contextOf(certificate, authority) };
        const [oldest] = contexts.keys();
        if (contexts.size >= KEPT_CONTEXTS && oldest !== undefined) contexts.delete(oldest);
      }
      contexts.set(certificate, made);
      return made.context;
    },
    has: (name) => byName.has(name),
    changeRules: (put, remove) => {
      if (asked.change(put, remove)) askedChanges += 1;
    },
    setChallenges: (wanted) => {
      challenges = new Map(wanted.map((each) => [each.name, each]));
    },
    challengeFor: (serverName) => {
      const certificate = find(challenges, serverName);
      return certificate === null ? null : contextOf(certificate, null);
    },
    askedFor,
    setTicketKey: (key) => {
      ticketKey = key;
      for (const listener of ticketListeners) listener(key);
    },
    onTicketKey: (listener) => {
      ticketListeners.push(listener);
      if (ticketKey !== null) listener(ticketKey);
    },
    get askedChanges() {
      return askedChanges;
    },
    get choosy() {
      return challenges.size > 0 || asked.size > 0;
    },
    size: () => byName.size,
  };
}
