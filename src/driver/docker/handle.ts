// What the Docker driver must remember of an attempt to find it again, and by what its containers are known: plain JSON, no secret in it.

import { createHash } from 'node:crypto';
import { Failure } from '../../lib/failure.ts';
import type { DriverHandle } from '../contract.ts';
import { numberOf, textOf } from './fields.ts';

/** On every container and network of ours: of which platform. */
export const PLATFORM_LABEL = 'libra.platform';
export const KEY_LABEL = 'libra.key';
/** On images that were built from a Dockerfile: they can be had from control again. */
export const BUILT_LABEL = 'libra.built';

export interface DockerHandle {
  readonly driver: 'docker';
  readonly key: string;
  readonly container: string;
  readonly log: { readonly folder: string; readonly bytes: number };
}

export function toDriverHandle(handle: DockerHandle): DriverHandle {
  return { ...handle };
}

/** Parses what `toDriverHandle` made, perhaps by an older librad. */
export function parseHandle(handle: DriverHandle): DockerHandle {
  const [key, container, folder] = [textOf(handle, 'key'), textOf(handle, 'container'), textOf(handle, 'log', 'folder')];
  const bytes = numberOf(handle, 'log', 'bytes');
  if (handle['driver'] !== 'docker' || key === null || container === null || folder === null || bytes === null) {
    throw new Failure('internal', { message: 'A handle of the Docker driver is damaged.', details: { key } });
  }
  return { driver: 'docker', key, container, log: { folder, bytes } };
}

/** The name of the container of a key: two of one name cannot be, so no key is ever started twice. */
export function containerName(platform: string, key: string): string {
  const safe = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/u.test(key) ? key : createHash('sha256').update(key).digest('hex').slice(0, 40);
  return `libra-${platform}-${safe}`;
}
