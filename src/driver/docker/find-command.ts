// Whether the first word of a command is there to be run. The init that Docker puts in front starts whatever it is told and would only say
// so in the output; this is asked before.

import { isAbsolute, join } from 'node:path/posix';
import type { Engine } from './engine.ts';

const MAX_KNOWN = 1000;

export interface CommandQuestion {
  readonly container: string;
  readonly imageId: string;
  readonly word: string;
  readonly workFolder: string;
  /** As of the variable PATH. */
  readonly path: string;
  /** Folders inside that do not come from the image. */
  readonly mounted: readonly string[];
}

/** Remembers what images have, as they never change. */
export function createCommandFinder(engine: Engine): (question: CommandQuestion) => Promise<boolean> {
  const known = new Set<string>();
  return async ({ container, imageId, word, workFolder, path, mounted }) => {
    const places = word.includes('/')
      ? [isAbsolute(word) ? word : join(workFolder === '' ? '/' : workFolder, word)]
      : path.split(':').flatMap((folder) => (isAbsolute(folder) ? [join(folder, word)] : []));
    if (places.some((place) => known.has(`${imageId} ${place}`))) return true;
    for (const place of places) {
      if (!(await engine.hasPath(container, place))) continue;
      if (known.size >= MAX_KNOWN) known.clear();
      if (!mounted.some((folder) => place.startsWith(`${folder}/`))) known.add(`${imageId} ${place}`);
      return true;
    }
    return false;
  };
}
