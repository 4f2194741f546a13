// Files of a process Instance: within its folders alone, which are walked by descriptors, since a program may change names in them
// meanwhile and we may do what it may not.

import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { Failure } from '../../lib/failure.ts';
import { packCopy, readCopy } from '../../sys/copy-tar.ts';
import type { LeaveOut } from '../../sys/copy-tar.ts';
import { unpackCopy } from '../../sys/copy-unpack.ts';
import type { CopyReport } from '../../sys/copy-unpack.ts';
import { createDescent, openFolder } from '../../sys/open-folder.ts';
import type { OpenFolder } from '../../sys/open-folder.ts';
import type { CopyPlace, Driver } from '../contract.ts';
import type { AppUser } from './users.ts';

const isWithin = (folder: string, path: string): boolean => path === folder || path.startsWith(folder + sep);

/** An absolute path means one of its folders, or counts from the work folder, as those of volumes do. */
function wantedPath({ path, workFolder, folders }: CopyPlace): string {
  const plain = resolve(path);
  if (isAbsolute(path) && folders.some((folder) => isWithin(folder, plain))) return plain;
  return resolve(workFolder ?? '', `.${sep}${path}`);
}

interface Found {
  /** Ours, and so is the folder that it lies in. */
  readonly root: string;
  /** Below it. */
  readonly parts: readonly string[];
}

/** Where a path leads, links followed; null: nowhere. Throws `invalid_input` where it leads out of the Instance's folders. */
async function find(place: CopyPlace, wanted: string): Promise<Found | null> {
  const leadsOut = new Failure('invalid_input', {
    message: `${place.path} leads out of the folders of the Instance.`,
    hint: 'Paths count from its work folder; volumes are where the manifest says.',
  });
  // Whether something is there is none of their business either.
  if (!place.folders.some((folder) => isWithin(folder, wanted))) throw leadsOut;
  const real = await realpath(wanted).catch(() => null);
  if (real === null) return null;
  for (const folder of place.folders) {
    const root = await realpath(folder).catch(() => null);
    if (root !== null && isWithin(root, real))
      return {
        root,
        parts: relative(root, real)
          .split(sep)
          .filter((part) => part !== ''),
      };
  }
  throw leadsOut;
}

const nothingAt = (place: CopyPlace): Failure =>
  new Failure('not_found', { message: `There is nothing at ${place.path === '' ? 'that path' : place.path} in the Instance.` });

/** The folder at these parts, entered by descriptors. */
async function enter(
  path: string,
  parts: readonly string[],
): Promise<{ readonly folder: OpenFolder; readonly close: () => Promise<void> }> {
  const root = await openFolder(path);
  const descent = createDescent(root);
  const close = async (): Promise<void> => {
    await descent.close();
    await root.handle.close();
  };
  try {
    return { folder: await descent.enter(parts), close };
  } catch (error) {
    await close();
    throw error;
  }
}

export async function* readFiles(place: CopyPlace, user: AppUser | null, leaveOut: LeaveOut): AsyncGenerator<Uint8Array> {
  const wanted = wantedPath(place);
  const found = await find(place, wanted);
  if (found === null) throw nothingAt(place);
  const whole = [basename(found.root), ...found.parts];
  const options = { as: basename(wanted), owner: user?.uid ?? null, leaveOut };
  const { folder, close } = await enter(dirname(found.root), whole.slice(0, -1));
  try {
    yield* packCopy(folder, whole.at(-1) ?? '', options);
  } finally {
    await close();
  }
}

export async function writeFiles(
  place: CopyPlace,
  user: AppUser | null,
  tar: AsyncIterable<Uint8Array>,
  { named, leaveOut, signal }: Parameters<NonNullable<Driver['writeFiles']>>[3],
): Promise<CopyReport> {
  const wanted = wantedPath(place);
  const there = await find(place, wanted);
  const isFolder = there !== null && (await stat(join(there.root, ...there.parts))).isDirectory();
  if (!isFolder && (!named || place.path.endsWith('/')))
    throw new Failure('not_found', { message: `There is no folder at ${place.path} in the Instance.` });
  const into = isFolder ? there : await find(place, dirname(wanted));
  if (into === null) throw new Failure('not_found', { message: `There is no folder ${dirname(place.path)} in the Instance.` });
  const { folder, close } = await enter(into.root, into.parts);
  try {
    return await unpackCopy(readCopy(tar, { as: isFolder ? null : basename(wanted), leaveOut, signal }), folder, user);
  } finally {
    await close();
  }
}
