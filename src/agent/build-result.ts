// What a build leaves: its work folder packed as a bundle, node_modules and all, and uploaded by digest.

import { mkdir } from 'node:fs/promises';
import { Failure, messageOf } from '../lib/failure.ts';
import { PACK_RESULT, packFolder } from '../sys/bundle-pack.ts';
import { takeTree } from '../sys/remove-tree.ts';
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
      // The build has ended, but other Instances of the App run as the same user: a link that one of them puts in the place of a folder
      // would have us read, as root, what is not theirs.
      await takeTree(folder).catch((cause: unknown) => {
        throw new Failure('bundle_invalid', { message: `What the build left cannot be packed: ${messageOf(cause)}.`, cause });
      });
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
