// What the process driver must remember of an attempt to find it again: plain JSON, without a secret in it.

import { createHash } from 'node:crypto';
import { Failure } from '../../lib/failure.ts';
import type { DriverHandle } from '../contract.ts';
import type { AppUser } from './users.ts';

export interface ProcessHandle {
  readonly driver: 'process';
  readonly key: string;
  readonly recordFolder: string;
  readonly log: { readonly folder: string; readonly bytes: number };
  readonly cgroups: readonly string[];
  readonly user: AppUser | null;
  /** `LIBRA_ATTEMPT=…`: the entry in the environment that every descendant inherits. */
  readonly marker: string;
  readonly notEnforced: readonly string[];
}

/** A name for files and cgroups: the key itself where it is harmless. */
export function safeName(key: string): string {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(key) ? key : createHash('sha256').update(key).digest('hex').slice(0, 40);
}

export function toDriverHandle(handle: ProcessHandle): DriverHandle {
  return { ...handle };
}

const isText = (value: unknown): value is string => typeof value === 'string';

/** Parses what `toDriverHandle` made, perhaps by an older librad. */
export function parseHandle(handle: DriverHandle): ProcessHandle {
  const { key, recordFolder, log, marker, cgroups, user, notEnforced } = handle;
  if (
    handle['driver'] !== 'process' ||
    !isText(key) ||
    !isText(recordFolder) ||
    !isText(marker) ||
    typeof log !== 'object' ||
    log === null ||
    !('folder' in log) ||
    !isText(log.folder) ||
    !('bytes' in log) ||
    typeof log.bytes !== 'number'
  ) {
    throw new Failure('internal', { message: 'A handle of the process driver is damaged.', details: { key } });
  }
  const owner =
    typeof user === 'object' &&
    user !== null &&
    'uid' in user &&
    typeof user.uid === 'number' &&
    'gid' in user &&
    typeof user.gid === 'number'
      ? { uid: user.uid, gid: user.gid }
      : null;
  return {
    driver: 'process',
    key,
    recordFolder,
    marker,
    log: { folder: log.folder, bytes: log.bytes },
    user: owner,
    cgroups: Array.isArray(cgroups) ? cgroups.filter(isText) : [],
    notEnforced: Array.isArray(notEnforced) ? notEnforced.filter(isText) : [],
  };
}
