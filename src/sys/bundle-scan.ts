// Lists what of a folder goes into a bundle, in a fixed order. Ignore files count as git counts them: in every folder, the nearer one
// wins, and what lies in an ignored folder is not looked at. Links are never followed.

import type { Stats } from 'node:fs';
import { lstat, readFile, readdir, readlink, realpath } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative, sep } from 'node:path';
import ignore from 'ignore';
import { Failure, messageOf } from '../lib/failure.ts';
import type { BundleLimits } from './bundle-limits.ts';
import { findEscapingLink } from './bundle-links.ts';

export type BundleEntry =
  | { readonly kind: 'file'; readonly path: string; readonly sizeBytes: number; readonly executable: boolean }
  | { readonly kind: 'folder'; readonly path: string }
  | { readonly kind: 'link'; readonly path: string; readonly target: string };

export interface ScanOptions {
  /** Names of files with patterns of what to leave out, weakest first. */
  readonly ignoreFiles: readonly string[];
  /** Names that are left out at any depth, whatever the ignore files say. */
  readonly alwaysIgnore: readonly string[];
  readonly limits: BundleLimits;
}

interface IgnoreLayer {
  /** Path of the folder of the ignore files, '' or ending in `/`. */
  readonly prefix: string;
  readonly rules: ignore.Ignore;
}

const MAX_IGNORE_FILE_BYTES = 256 * 1024;
/** Entries of one folder that are looked at together. */
const STAT_AHEAD = 32;

/** The entries by path, a folder before what is in it. Rejects with `bundle_invalid` or `too_large`, naming the entry or the bound. */
export async function scanFolder(folder: string, options: ScanOptions): Promise<readonly BundleEntry[]> {
  const root = await realpath(folder).catch((error: unknown) => {
    throw new Failure('not_found', { message: `The folder ${folder} cannot be read: ${messageOf(error)}.`, cause: error });
  });
  const entries: BundleEntry[] = [];
  let totalBytes = 0;
  const always = new Set(options.alwaysIgnore);

  const add = (entry: BundleEntry): void => {
    if (Buffer.byteLength(entry.path) > options.limits.maxPathBytes) {
      throw invalid(entry.path, `has a path of more than ${options.limits.maxPathBytes} bytes`, undefined);
    }
    entries.push(entry);
    if (entries.length > options.limits.maxEntries) {
      throw new Failure('too_large', {
        message: `The folder ${folder} has more than ${options.limits.maxEntries} files and folders.`,
        hint: 'Leave out what is not needed to run, in .gitignore or .libraignore.',
        details: { maxEntries: options.limits.maxEntries },
      });
    }
    if (entry.kind !== 'file') return;
    totalBytes += entry.sizeBytes;
    if (totalBytes > options.limits.maxBytes) {
      throw new Failure('too_large', {
        message: `The folder ${folder} has more than ${options.limits.maxBytes} bytes; the bound was passed at ${entry.path}.`,
        hint: 'Leave out what is not needed to run, in .gitignore or .libraignore.',
        details: { maxBytes: options.limits.maxBytes, path: entry.path },
      });
    }
  };

  const visit = async (prefix: string, inherited: readonly IgnoreLayer[]): Promise<void> => {
    const names = (await readable(prefix, readdir(join(root, prefix)))).filter((name) => !always.has(name)).sort(byCodeUnit);
    for (const name of names) if (name.includes('\uFFFD')) throw invalid(prefix + name, 'has a name that is not UTF-8', 'Rename it.');
    const own = await readIgnoreFiles(root, prefix, names, options.ignoreFiles);
    const layers = own === null ? inherited : [...inherited, own];
    let infos: readonly Stats[] = [];
    for (const [index, name] of names.entries()) {
      const path = prefix + name;
      if (index % STAT_AHEAD === 0)
        infos = await Promise.all(
          names.slice(index, index + STAT_AHEAD).map((each) => readable(prefix + each, lstat(join(root, prefix, each)))),
        );
      const info = infos[index % STAT_AHEAD];
      if (info === undefined) continue;
      const isFolder = info.isDirectory();
      if (isIgnored(layers, isFolder ? `${path}/` : path)) continue;
      if (isFolder) {
        add({ kind: 'folder', path });
        // A layer that ignores this folder was overruled by a nearer one: it has no say on what is inside.
        await visit(
          `${path}/`,
          layers.filter((layer) => !layer.rules.test(`${path}/`.slice(layer.prefix.length)).ignored),
        );
      } else if (info.isFile()) {
        add({ kind: 'file', path, sizeBytes: info.size, executable: (info.mode & 0o111) !== 0 });
      } else if (info.isSymbolicLink()) {
        add({ kind: 'link', path, target: await linkTarget(root, path, options.limits) });
      } else {
        throw invalid(path, 'is neither a file nor a folder nor a link (a device, socket or pipe)', 'Remove it or add it to .libraignore.');
      }
    }
  };
  await visit('', []);
  const links = new Map(entries.flatMap((entry) => (entry.kind === 'link' ? [[entry.path, entry.target]] : [])));
  const escaping = findEscapingLink(links);
  if (escaping !== null) {
    throw invalid(
      escaping,
      `is a link that leads out of the folder, to ${links.get(escaping) ?? ''}`,
      'Put a copy of what it leads to in its place, or add the link to .libraignore.',
    );
  }
  return entries;
}

function byCodeUnit(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function invalid(path: string, what: string, hint: string | undefined): Failure {
  return new Failure('bundle_invalid', { message: `The entry ${path} ${what}.`, hint, details: { path } });
}

/** What cannot be looked at (no permission, or gone meanwhile) is told with its path. */
async function readable<T>(path: string, operation: Promise<T>): Promise<T> {
  try {
    return await operation;
  } catch (error) {
    throw new Failure('bundle_invalid', {
      message: `${path === '' ? 'The folder' : path} cannot be read: ${messageOf(error)}.`,
      hint: 'Make it readable, or leave it out in .libraignore.',
      details: { path },
      cause: error,
    });
  }
}

async function readIgnoreFiles(
  root: string,
  prefix: string,
  names: readonly string[],
  ignoreFiles: readonly string[],
): Promise<IgnoreLayer | null> {
  const present = ignoreFiles.filter((name) => names.includes(name));
  if (present.length === 0) return null;
  const rules = ignore();
  for (const name of present) {
    const path = join(root, prefix, name);
    const info = await readable(prefix + name, lstat(path));
    if (!info.isFile()) continue;
    if (info.size > MAX_IGNORE_FILE_BYTES) throw invalid(prefix + name, `has more than ${MAX_IGNORE_FILE_BYTES} bytes`, undefined);
    rules.add(await readable(prefix + name, readFile(path, 'utf8')));
  }
  return { prefix, rules };
}

function isIgnored(layers: readonly IgnoreLayer[], path: string): boolean {
  let ignored = false;
  for (const layer of layers) {
    const result = layer.rules.test(path.slice(layer.prefix.length));
    if (result.ignored) ignored = true;
    else if (result.unignored) ignored = false;
  }
  return ignored;
}

/** The link's target; one with an absolute path inside the folder is made relative, because the folder will stand elsewhere. */
async function linkTarget(root: string, path: string, limits: BundleLimits): Promise<string> {
  const target = await readable(path, readlink(join(root, path)));
  if (Buffer.byteLength(target) > limits.maxPathBytes) {
    throw invalid(path, `is a link to a path of more than ${limits.maxPathBytes} bytes`, undefined);
  }
  const insideRoot = target === root || target.startsWith(root.endsWith(sep) ? root : root + sep);
  return isAbsolute(target) && insideRoot ? relative(dirname(join(root, path)), target) || '.' : target;
}
