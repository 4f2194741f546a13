// Images that Libra fetched or built, and when the disk gets full the deletion of those that nothing uses, the longest unused first. What is
// ours, and when it was used last, is kept by the engine itself, as a further name of the image: an image that somebody else fetched, or
// gave a name to, is left alone.

import { createHash } from 'node:crypto';
import { statfs } from 'node:fs/promises';
import type { Clock } from '../../lib/clock.ts';
import type { Log } from '../../sys/log.ts';
import type { Engine, ImageFacts } from './engine.ts';
import { engineStatus } from './engine-http.ts';

/** Of the disk that images lie on, in percent of what is in use: deletion begins at `high`, and ends at `low`. */
export interface ImageSpace {
  readonly high: number;
  readonly low: number;
}

export interface ImageGarbageOptions {
  readonly engine: Engine;
  readonly platform: string;
  /** null: nothing is deleted for want of space. */
  readonly space: ImageSpace | null;
  /** What is in use of the disk with this folder, percent; null: that cannot be seen from here. Default: of the file system. */
  readonly usedPercent?: (folder: string) => Promise<number | null>;
  readonly clock: Clock;
  readonly log: Log;
}

export interface ImageGarbage {
  /** It was fetched or built here. */
  took(reference: string): Promise<void>;
  /** It is about to be used; does nothing to one that is not ours. */
  uses(reference: string, image: ImageFacts): Promise<void>;
  collect(): Promise<void>;
}

/** Whatever was used so lately may be about to be started. */
const LEAST_AGE_MS = 120_000;

async function usedOfDisk(folder: string): Promise<number | null> {
  // The engine may run on another machine.
  const disk = await statfs(folder).catch(() => null);
  return disk === null || disk.blocks === 0 ? null : (1 - disk.bavail / disk.blocks) * 100;
}

export function createImageGarbage(options: ImageGarbageOptions): ImageGarbage {
  const { engine, space, clock, log } = options;
  const usedPercent = options.usedPercent ?? usedOfDisk;
  const repository = `libra.local/kept/${options.platform}`;
  const isMark = (name: string): boolean => name.startsWith(`${repository}:`);

  /** Naming it once more makes its time that of now. */
  const mark = async (reference: string): Promise<void> => {
    try {
      await engine.tagImage(reference, repository, createHash('sha256').update(reference).digest('hex').slice(0, 32));
    } catch (error) {
      // It went meanwhile: whoever needs it finds that out.
      if (engineStatus(error) !== 404) throw error;
    }
  };

  /** Ours alone: as many names as we fetched it by, or fewer. */
  const isOurs = ({ names }: ImageFacts): boolean => {
    const marks = names.filter(isMark).length;
    return marks > 0 && names.length - marks <= marks;
  };

  const unused = async (): Promise<readonly ImageFacts[]> => {
    const used = await engine.usedImages();
    const found: ImageFacts[] = [];
    for (const id of await engine.imagesNamed(repository)) {
      const image = used.has(id) ? null : await engine.image(id);
      if (image !== null && isOurs(image) && image.namedAtMs + LEAST_AGE_MS <= clock.now()) found.push(image);
    }
    return found.sort((a, b) => a.namedAtMs - b.namedAtMs);
  };

  return {
    took: mark,
    uses: async (reference, { names }) => {
      if (names.some(isMark)) await mark(reference);
    },
    collect: async () => {
      if (space === null) return;
      const { rootFolder } = await engine.facts();
      const isAbove = async (bound: number): Promise<boolean> => {
        const percent = await usedPercent(rootFolder);
        return percent !== null && percent >= bound;
      };
      if (!(await isAbove(space.high))) return;
      for (const { id, names } of await unused()) {
        if (!(await isAbove(space.low))) return;
        log.info({ image: names.find((name) => !isMark(name)) ?? id }, 'deleting an image that nothing uses: the disk gets full');
        await engine.removeImage(id);
      }
      if (await isAbove(space.high))
        log.warn(
          { folder: rootFolder, percent: space.high },
          'the disk of images is nearly full, and no image is left that could be deleted',
        );
    },
  };
}
