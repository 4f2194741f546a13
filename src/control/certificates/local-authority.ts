// The authority for the hosts of Apps, so that https works from the first minute on any host name. Whoever trusts its certificate trusts
// every App of this platform and nothing else.

import type { Sealer } from '../config/sealer.ts';
import type { ControlContext } from '../context.ts';
import { makePair, openAuthority } from './authority.ts';
import type { KeyPair } from './authority.ts';

const DAY_MS = 86_400_000;
/** Within what browsers take of a private authority, and renewed long before. */
const SERVER_DAYS = 90;
const RENEW_BEFORE_DAYS = 30;

export interface ServerCertificate {
  readonly name: string;
  /** Leaf and authority. */
  readonly chainPem: string;
  readonly keyPem: string;
  readonly untilMs: number;
}

export interface LocalAuthority {
  readonly certificatePem: string;
  /** A certificate for the host name, wildcard or address; the same one until it is nearly over. */
  issue(name: string): ServerCertificate;
  forget(name: string): void;
}

/** Throws what the store and the sealer refuse with. */
export async function openLocalAuthority(context: ControlContext, sealer: Sealer): Promise<LocalAuthority> {
  const { clock } = context;
  const authority = await openAuthority(context, sealer, { id: 'local', title: 'Libra local authority' });
  // One key for all: they end on the same Edges, and a key costs more than a signature.
  let pair: KeyPair | null = null;
  const issued = new Map<string, ServerCertificate>();

  return {
    certificatePem: authority.certificatePem,
    issue: (name) => {
      const now = clock.now();
      const existing = issued.get(name);
      if (existing !== undefined && existing.untilMs - now > RENEW_BEFORE_DAYS * DAY_MS) return existing;
      pair ??= makePair();
      const untilMs = now + SERVER_DAYS * DAY_MS;
      const leaf = authority.sign({ commonName: name, publicKey: pair.publicKey, use: { kind: 'server', names: [name] }, untilMs });
      const made = { name, chainPem: leaf + authority.certificatePem, keyPem: pair.keyPem, untilMs };
      issued.set(name, made);
      return made;
    },
    forget: (name) => {
      issued.delete(name);
    },
  };
}
