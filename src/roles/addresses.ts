// `<data>/run/addresses.json`: who runs on this data folder and where it answers. A file of a dead process says nothing.

import { readFile, rm } from 'node:fs/promises';
import type { LocalAddresses } from '../cli/local-platform.ts';
import { replaceFileSync } from '../sys/durable-file.ts';
import type { ProcessIdentity } from '../sys/keeper-protocol.ts';
import { isIdentityAlive, readIdentity } from '../sys/process-identity.ts';
import type { DataPaths } from './paths.ts';

interface AddressesFile extends LocalAddresses {
  readonly identity: ProcessIdentity | null;
}

export function writeAddresses(paths: DataPaths, addresses: LocalAddresses): void {
  replaceFileSync(paths.addresses, `${JSON.stringify({ ...addresses, identity: readIdentity(addresses.pid) } satisfies AddressesFile)}\n`);
}

export async function removeAddresses(paths: DataPaths): Promise<void> {
  await rm(paths.addresses, { force: true });
}

function isIdentity(value: unknown): value is ProcessIdentity {
  return typeof value === 'object' && value !== null && 'bootId' in value && 'pid' in value && 'startTicks' in value;
}

/** Addresses of the platform that is alive on this data folder, else null. */
export async function readAddresses(paths: DataPaths): Promise<LocalAddresses | null> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(paths.addresses, 'utf8'));
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null || !('identity' in value) || !isIdentity(value.identity)) return null;
  if (!('api' in value) || !('apps' in value) || !('version' in value) || typeof value.api !== 'string' || typeof value.apps !== 'string')
    return null;
  if (!isIdentityAlive(value.identity)) return null;
  const node = 'node' in value && typeof value.node === 'string' ? { node: value.node } : {};
  const warning = 'warning' in value && typeof value.warning === 'string' ? { warning: value.warning } : {};
  return { api: value.api, apps: value.apps, ...node, ...warning, pid: value.identity.pid, version: String(value.version) };
}
