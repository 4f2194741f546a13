// Named storage that outlives Instances: a folder per Environment, Entrypoint, slot and name, linked into the work folder.

import { lstat, mkdir, readlink, rmdir, symlink, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import type { DesiredInstance } from '../api/agent.ts';
import { Failure } from '../lib/failure.ts';
import { openFolder } from '../sys/open-folder.ts';
import type { OpenFolder } from '../sys/open-folder.ts';
import { isMissing } from './state-file.ts';

/** Real path of each volume, by name. */
export function volumePaths(root: string, spec: DesiredInstance): ReadonlyMap<string, string> {
  const { environment } = spec;
  if (environment === null) return new Map();
  return new Map(spec.volumes.map((volume) => [volume.name, join(root, environment.id, spec.entrypoint, String(spec.slot), volume.name)]));
}

/**
 * Links `path` (absolute paths count from the work folder) to `target`. An empty folder of the bundle in that place gives way; what
 * holds files is refused, as it would vanish behind the link. Walks by descriptors and follows no link on the way: neither can a bundle
 * lead it out, nor another Instance of the App that swaps folders for links meanwhile.
 */
export async function linkInto(workFolder: string, path: string, target: string): Promise<void> {
  const whole = resolve(workFolder, `.${sep}${path}`);
  if (whole === workFolder || !whole.startsWith(workFolder + sep)) {
    throw new Failure('bundle_invalid', { message: `The path ${path} does not lie inside the work folder.` });
  }
  const folders = dirname(whole)
    .slice(workFolder.length)
    .split(sep)
    .filter((segment) => segment !== '');
  let folder = await openFolder(workFolder);
  try {
    for (const segment of folders) {
      const inner = await enter(folder, segment, path);
      await folder.handle.close();
      folder = inner;
    }
    await placeLink(join(folder.path, basename(whole)), path, target);
  } finally {
    await folder.handle.close();
  }
}

async function enter(folder: OpenFolder, segment: string, path: string): Promise<OpenFolder> {
  const inner = join(folder.path, segment);
  if ((await lstat(inner).catch(ignoreMissing)) === undefined) await mkdir(inner, { mode: 0o755 });
  return await openFolder(inner).catch((cause: unknown) => {
    throw new Failure('bundle_invalid', { message: `${path} cannot be linked: ${segment} in the bundle is not a folder.`, cause });
  });
}

async function placeLink(place: string, path: string, target: string): Promise<void> {
  const there = await lstat(place).catch(ignoreMissing);
  if (there?.isSymbolicLink() === true) {
    if ((await readlink(place)) === target) return;
    await unlink(place);
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

const ignoreMissing = (error: unknown): undefined => {
  if (!isMissing(error)) throw error;
  return undefined;
};
