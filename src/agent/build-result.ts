// What a build leaves: its work folder packed as a bundle, node_modules and all, or the image that its Dockerfile makes of it; uploaded by
// digest, so that every Node can have it.

import { mkdir } from 'node:fs/promises';
import type { Driver, ImageOrder } from '../driver/contract.ts';
import { Failure, messageOf } from '../lib/failure.ts';
import type { BuildOutput } from '../model/documents.ts';
import { PACK_RESULT, packFolder } from '../sys/bundle-pack.ts';
import type { PackedBundle, PackOptions } from '../sys/bundle-pack.ts';
import { takeTree } from '../sys/remove-tree.ts';
import { contextOf } from './dockerignore.ts';
import { takeApart } from './image-parts.ts';
import type { AgentLink } from './link.ts';

export interface BuildResults {
  /** Packs and uploads; safe to repeat, as equal folders give equal digests. `bundle_invalid`, `too_large`: repeating cannot help. */
  publish(folder: string, signal: AbortSignal): Promise<BuildOutput>;
  /** Builds an image of the folder and uploads what control lacks of it. `build_failed` and the two above: repeating cannot help. */
  publishImage(driver: Driver, folder: string, order: ImageOrder, signal: AbortSignal): Promise<BuildOutput>;
}

/** `tempFolder` holds packed results on their way. */
export function createBuildResults(link: Pick<AgentLink, 'uploadBlob'>, tempFolder: string): BuildResults {
  const pack = async (folder: string, signal: AbortSignal, choose?: PackOptions['choose']): Promise<PackedBundle> => {
    await mkdir(tempFolder, { recursive: true, mode: 0o700 });
    // The build has ended, but other Instances of the App run as the same user: a link that one of them puts in the place of a folder
    // would have us read, as root, what is not theirs.
    await takeTree(folder).catch((cause: unknown) => {
      throw new Failure('bundle_invalid', { message: `What the build left cannot be packed: ${messageOf(cause)}.`, cause });
    });
    return packFolder(folder, { ...PACK_RESULT, tempFolder, signal, ...(choose === undefined ? {} : { choose }) });
  };

  return {
    publish: async (folder, signal) => {
      const packed = await pack(folder, signal);
      try {
        await link.uploadBlob(packed.digest, (startByte) => packed.openStream(startByte), signal);
        return { digest: packed.digest, sizeBytes: packed.sizeBytes };
      } finally {
        await packed.remove();
      }
    },
    publishImage: async (driver, folder, order, signal) => {
      if (driver.buildImage === undefined || driver.saveImage === undefined) {
        throw new Failure('build_failed', {
          message: `The driver ${driver.info.name} builds no images.`,
          hint: 'A Dockerfile needs a Node with Docker.',
        });
      }
      const packed = await pack(folder, signal, (entries) => contextOf(folder, order.dockerfile, entries, signal));
      try {
        await driver.buildImage(packed.openStream(0), order, signal);
      } finally {
        await packed.remove();
      }
      const image = await takeApart(await driver.saveImage(order.reference, signal), tempFolder, signal);
      try {
        // Whoever finds the manifest finds what it names.
        for (const { digest, openStream } of [...image.parts, image.manifest]) await link.uploadBlob(digest, openStream, signal);
        return {
          digest: image.manifest.digest,
          sizeBytes: image.parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, image.manifest.sizeBytes),
          parts: image.parts.map(({ digest }) => digest),
        };
      } finally {
        await image.remove();
      }
    },
  };
}
