// Who a machine of the cluster is to another one: a key, a certificate that the cluster's authority has signed, and the names in it.
// What a machine may do stands in those names and nowhere else: a list of names that leaves a doubt says nothing.

import { createHash } from 'node:crypto';
import type { KeyObject, X509Certificate } from 'node:crypto';
import type { TlsParty } from '../sys/http-fetch.ts';

export interface MachineIdentity {
  readonly nodeId: string;
  /** Of the authorities that count; PEM. */
  readonly authorityPem: string;
  /** Leaf first. */
  readonly certificatePem: string;
  /** PKCS#8 PEM. */
  readonly keyPem: string;
}

/** The name that every control plane is known by in its certificate, whatever address it is reached at. */
export const CONTROL_NAME = 'control.libra.internal';

/** What a machine may be to the others: run Instances, carry requests to them, decide. */
export type MachinePart = 'node' | 'edge' | 'control';

const NAME = /^DNS:(?<id>[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})\.(?<part>node|edge|control)\.libra\.internal$/u;
/** What names of machines are made of. Where anything else stands in the list, one name could be read as several. */
const PLAIN_NAMES = /^[\w:.*, -]*$/u;

/** The name by which a certificate says that the machine may be this. */
export function machineName(nodeId: string, part: MachinePart): string {
  return `${nodeId}.${part}.libra.internal`;
}

/** The id of the machine, where its certificate lets it be this; null: it does not. The signature is the caller's to check. */
export function machineIdOf(certificate: Pick<X509Certificate, 'subjectAltName'>, wanted: MachinePart): string | null {
  const names = certificate.subjectAltName ?? '';
  if (!PLAIN_NAMES.test(names)) return null;
  const found = new Set<string>();
  for (const name of names.split(', ')) {
    const { id, part } = NAME.exec(name)?.groups ?? {};
    if (id !== undefined && part === wanted) found.add(id);
  }
  // One machine has one id.
  const [id = null] = found;
  return found.size === 1 ? id : null;
}

/** By which a machine's key is known: the SHA-256 of the public key, in hex. */
export function keyIdOf(publicKey: KeyObject): string {
  return createHash('sha256')
    .update(publicKey.export({ format: 'der', type: 'spki' }))
    .digest('hex');
}

/** null: what was read, from a file say, is none. */
export function identityOf(value: unknown): MachineIdentity | null {
  if (typeof value !== 'object' || value === null) return null;
  const { nodeId, authorityPem, certificatePem, keyPem }: Partial<Record<keyof MachineIdentity, unknown>> = value;
  if (typeof nodeId !== 'string' || typeof authorityPem !== 'string') return null;
  if (typeof certificatePem !== 'string' || typeof keyPem !== 'string') return null;
  return { nodeId, authorityPem, certificatePem, keyPem };
}

/** How the machine speaks to control. */
export function controlParty({ authorityPem, certificatePem, keyPem }: MachineIdentity): TlsParty {
  return { ca: authorityPem, cert: certificatePem, key: keyPem, servername: CONTROL_NAME };
}
