// What a build leaves: its work folder packed as a bundle, node_modules and all, or the image that its Dockerfile makes of it; uploaded by
// digest, so that every Node can have it.

import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Driver, ImageOrder } from '../driver/contract.ts';
import { Failure, messageOf } from '../lib/failure.ts';
import { PACK_RESULT, packFolder } from '../sys/bundle-pack.ts';
import type { PackedBundle, PackOptions } from '../sys/bundle-pack.ts';
import { takeTree } from '../sys/remove-tree.ts';
import { contextOf } from './dockerignore.ts';
import type { AgentLink } from './link.ts';

interface Result {
  readonly digest: string;
  readonly sizeBytes: number;
}

export interface BuildResults {
  /** Packs and uploads; safe to repeat, as equal folders give equal digests. `bundle_invalid`, `too_large`: repeating cannot help. */
  publish(folder: string, signal: AbortSignal): Promise<Result>;
  /** Builds an image of the folder and uploads it. `build_failed` and the two above: repeating cannot help. */
  publishImage(driver: Driver, folder: string, order: ImageOrder, signal: AbortSignal): Promise<Result>;
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
      const file = join(tempFolder, `${order.reference.replaceAll(/[^A-Za-z0-9.-]/gu, '-')}.tar`);
      try {
        const result = await writeFile(file, await driver.saveImage(order.reference, signal), signal);
        await link.uploadBlob(result.digest, (startByte) => createReadStream(file, { start: startByte }), signal);
        return result;
      } finally {
        await rm(file, { force: true });
      }
    },
  };
}

async function writeFile(path: string, source: Readable, signal: AbortSignal): Promise<Result> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  async function* measured(): AsyncGenerator<Buffer> {
    for await (const chunk of source) {
      const bytes = Buffer.from(chunk);
      hash.update(bytes);
      sizeBytes += bytes.length;
      yield bytes;
    }
  }
  await pipeline(measured, createWriteStream(path, { mode: 0o600 }), { signal });
  return { digest: `sha256:${hash.digest('hex')}`, sizeBytes };
}
