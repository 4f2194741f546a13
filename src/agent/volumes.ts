// Named storage that outlives Instances: a folder per Environment, Entrypoint, slot and name, linked into the work folder.

import { lstat, mkdir, readlink, rm, rmdir, symlink } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import type { DesiredInstance } from '../api/agent.ts';
import { Failure } from '../lib/failure.ts';
import { isMissing } from './state-file.ts';

/** Real path of each volume, by name. */
export function volumePaths(root: string, spec: DesiredInstance): ReadonlyMap<string, string> {
  const { environment } = spec;
  if (environment === null) return new Map();
  return new Map(spec.volumes.map((volume) => [volume.name, join(root, environment.id, spec.entrypoint, String(spec.slot), volume.name)]));
}

/**
 * Links `path` (absolute paths count from the work folder) to `target`. An empty folder of the bundle in that place gives way; what
 * holds files is refused, as it would vanish behind the link. Never follows a link on the way, so that a bundle cannot lead it out.
 */
export async function linkInto(workFolder: string, path: string, target: string): Promise<void> {
  const place = resolve(workFolder, `.${sep}${path}`);
  if (place === workFolder || !place.startsWith(workFolder + sep)) {
    throw new Failure('bundle_invalid', { message: `The path ${path} does not lie inside the work folder.` });
  }
  await makeFolders(workFolder, dirname(place), path);
  const there = await lstat(place).catch(ignoreMissing);
  if (there?.isSymbolicLink() === true) {
    if ((await readlink(place)) === target) return;
    await rm(place);
  } else if (there !== undefined) {
    await rmdir(place).catch((cause: unknown) => {
      throw new Failure('bundle_invalid', {
        message: `The bundle has files at ${path}, where a volume or a secret file shall be.`,
        hint: 'Leave them out of the bundle (.libraignore), or choose another path.',
        cause,
      });
    });
  }
  await symlink(target, place);
}

async function makeFolders(workFolder: string, folder: string, path: string): Promise<void> {
  let current = workFolder;
  for (const segment of folder.slice(workFolder.length).split(sep)) {
    if (segment === '') continue;
    current = join(current, segment);
    const there = await lstat(current).catch(ignoreMissing);
    if (there === undefined) await mkdir(current, { mode: 0o755 });
    else if (!there.isDirectory()) {
      throw new Failure('bundle_invalid', { message: `${path} cannot be linked: ${current} in the bundle is not a folder.` });
    }
  }
}

const ignoreMissing = (error: unknown): undefined => {
  if (!isMissing(error)) throw error;
  return undefined;
};
