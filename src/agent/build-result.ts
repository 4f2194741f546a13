// What a build leaves: its work folder packed as a bundle, node_modules and all, and uploaded by digest.

import { mkdir } from 'node:fs/promises';
import { PACK_RESULT, packFolder } from '../sys/bundle-pack.ts';
import type { AgentLink } from './link.ts';

export interface BuildResults {
  /** Packs and uploads; safe to repeat, as equal folders give equal digests. `bundle_invalid`, `too_large`: repeating cannot help. */
  publish(folder: string, signal: AbortSignal): Promise<{ readonly digest: string; readonly sizeBytes: number }>;
}

/** `tempFolder` holds packed results on their way. */
export function createBuildResults(link: Pick<AgentLink, 'uploadBlob'>, tempFolder: string): BuildResults {
  return {
    publish: async (folder, signal) => {
      await mkdir(tempFolder, { recursive: true, mode: 0o700 });
      const packed = await packFolder(folder, { ...PACK_RESULT, tempFolder, signal });
      try {
        await link.uploadBlob(packed.digest, (startByte) => packed.openStream(startByte), signal);
        return { digest: packed.digest, sizeBytes: packed.sizeBytes };
      } finally {
        await packed.remove();
      }
    },
  };
}
