// What a machine that joined keeps: where control is, who it is itself, and the key and certificate that it shows. Key and certificate are
// one file, so that a kill never leaves a pair that does not fit.

import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { statSync } from 'node:fs';
import type { MachineRole } from '../model/documents.ts';
import { Failure, isFailure } from '../lib/failure.ts';
import { readJsonFile, replaceFileDurably } from '../sys/durable-file.ts';
import { identityOf } from '../tunnel/identity.ts';
import type { MachineIdentity } from '../tunnel/identity.ts';
import type { DataPaths } from './paths.ts';

/** Of a machine that is no control plane of its own. */
export interface Membership {
  /** Of the APIs of its control planes over TLS; the first is the one that it came by, or that it reached last. */
  readonly urls: readonly [string, ...string[]];
  readonly nodeId: string;
  /** Of the Node. */
  readonly name: string;
  readonly roles: readonly MachineRole[];
  /** By which other machines reached it last. */
  readonly address: string;
}

type Fields = Readonly<Record<string, unknown>>;

function texts<const Name extends string>(value: unknown, names: readonly Name[]): Readonly<Record<Name, string>> | null {
  if (typeof value !== 'object' || value === null) return null;
  const fields = value as Fields; // each is looked at below
  const found = names.flatMap((name) => (typeof fields[name] === 'string' ? [[name, fields[name]] as const] : []));
  return found.length === names.length ? (Object.fromEntries(found) as Record<Name, string>) /* every name is there */ : null;
}

/**
 * null: this machine is a platform of its own, or nothing yet. Throws `storage_failed` where the file is there and damaged: a machine of
 * another platform must not begin one of its own.
 */
export function readMembership(paths: Pick<DataPaths, 'membership'>): Membership | null {
  if (statSync(paths.membership, { throwIfNoEntry: false }) === undefined) return null;
  const membership = membershipOf(readJsonFile(paths.membership));
  if (membership !== null) return membership;
  throw new Failure('storage_failed', {
    message: `Which platform this machine belongs to stands in ${paths.membership}, which is damaged or cannot be read.`,
    hint: 'Restore the file; or delete it and let the machine join anew: libra nodes invite, on the platform, and libra join, here.',
  });
}

function membershipOf(value: unknown): Membership | null {
  const found = texts(value, ['nodeId', 'name', 'address']);
  if (found === null || typeof value !== 'object' || value === null) return null;
  if (!('roles' in value) || !Array.isArray(value.roles) || !('urls' in value) || !Array.isArray(value.urls)) return null;
  const [first, ...others] = value.urls.filter((url) => typeof url === 'string');
  if (first === undefined) return null;
  return {
    ...found,
    urls: [first, ...others],
    roles: value.roles.filter((role): role is MachineRole => role === 'agent' || role === 'edge'),
  };
}

export async function writeMembership(paths: Pick<DataPaths, 'membership'>, membership: Membership): Promise<void> {
  await replaceFileDurably(paths.membership, `${JSON.stringify(membership)}\n`);
}

export function readIdentity(paths: Pick<DataPaths, 'identity'>): MachineIdentity | null {
  return identityOf(readJsonFile(paths.identity));
}

/** Throws `storage_failed` where a machine that joined has none. */
export function requireIdentity(paths: Pick<DataPaths, 'identity'>): MachineIdentity {
  const identity = readIdentity(paths);
  if (identity !== null) return identity;
  throw new Failure('storage_failed', {
    message: `The key of this machine in ${paths.identity} is not there or damaged.`,
    hint: 'Restore the file, or let the machine join anew: libra nodes invite, there, and libra join, here.',
  });
}

export async function writeIdentity(paths: Pick<DataPaths, 'identity'>, identity: MachineIdentity): Promise<void> {
  const { nodeId, authorityPem, certificatePem, keyPem } = identity;
  await replaceFileDurably(paths.identity, `${JSON.stringify({ nodeId, authorityPem, certificatePem, keyPem })}\n`);
}

export interface MachineKey {
  /** SPKI. */
  readonly publicKeyPem: string;
  /** PKCS#8. */
  readonly keyPem: string;
}

export function makeMachineKey(): MachineKey {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    publicKeyPem: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
    keyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  };
}

/** The key of an earlier try, so that it gets the same answer; a new one where there is none. */
export async function pendingMachineKey(file: string): Promise<MachineKey> {
  const kept = texts(readJsonFile(file), ['keyPem']);
  if (kept !== null) return { ...kept, publicKeyPem: createPublicKey(kept.keyPem).export({ format: 'pem', type: 'spki' }).toString() };
  const made = makeMachineKey();
  await replaceFileDurably(file, `${JSON.stringify({ keyPem: made.keyPem })}\n`);
  return made;
}

/** When half of the certificate's time is over, UTC milliseconds. */
export function renewAtMs({ certificatePem }: Pick<MachineIdentity, 'certificatePem'>): number {
  const { validFrom, validTo } = new X509Certificate(certificatePem);
  return (Date.parse(validFrom) + Date.parse(validTo)) / 2;
}

export function isOver({ certificatePem }: Pick<MachineIdentity, 'certificatePem'>, nowMs: number): boolean {
  return Date.parse(new X509Certificate(certificatePem).validTo) <= nowMs;
}

/** Whether control says that this machine is no Node any more; where it does not answer, nobody has said so. */
export async function isRemoved(ask: () => Promise<unknown>): Promise<boolean> {
  try {
    await ask();
    return false;
  } catch (error) {
    return isFailure(error, 'unauthenticated') && error.details?.['removed'] === true;
  }
}
