// Of which platform the volumes of an Environment are. A data folder may leave one platform and join another, which knows nothing of the
// Environments of the first: only what is surely its own may be collected. It stands in the folder of the Environment, so that it goes and
// comes back together with the volumes.

import { createHash, X509Certificate } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFileDurably } from '../sys/durable-file.ts';

/** No Entrypoint has such a name. */
const NAME = '.platform';

export type VolumeOwner = 'own' | 'other' | 'unknown';

export interface VolumeOwners {
  of(environmentId: string): Promise<VolumeOwner>;
  /** Makes the folder of an Environment of this platform. One that is there stays whose it is: a Node that changes its platform has old ones. */
  make(environmentId: string): Promise<void>;
  /** Of a folder whose owner is not known: this platform has the Environment. */
  claim(environmentId: string): Promise<void>;
}

/** @param root holds a folder for each Environment, by its id. */
export function createVolumeOwners(root: string, platform: () => string): VolumeOwners {
  const folder = (id: string): string => join(root, id);
  const owner = async (id: string): Promise<VolumeOwner> => {
    // What cannot be read says nothing, and is kept.
    const text = await readFile(join(folder(id), NAME), 'utf8').catch(() => '');
    if (text === '') return 'unknown';
    return text.trim() === platform() ? 'own' : 'other';
  };
  const claim = (id: string): Promise<void> => replaceFileDurably(join(folder(id), NAME), `${platform()}\n`);
  return {
    of: owner,
    make: async (id) => {
      const made = await mkdir(folder(id), { recursive: true, mode: 0o711 });
      if (made !== undefined) await claim(id);
    },
    claim,
  };
}

/** What one platform has and no other: the key of its authority. Other control planes and a renewed certificate have the same. */
export function platformOf(authorityPem: string): string {
  const key = new X509Certificate(authorityPem).publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(key).digest('hex');
}
