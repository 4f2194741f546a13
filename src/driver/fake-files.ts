// Files of a fake Instance, in memory.

import { basename, dirname, join } from 'node:path/posix';
import { Failure } from '../lib/failure.ts';
import { readCopy, writeCopy } from '../sys/copy-tar.ts';
import type { CopyEntry } from '../sys/copy-tar.ts';
import type { CopyReport } from '../sys/copy-unpack.ts';
import type { CopyPlace, Driver } from './contract.ts';

type FakeFile = { readonly entry: CopyEntry; readonly bytes: Buffer };

/** By path, without a slash at either end. */
export type FakeFiles = Map<string, FakeFile>;

const pathOf = (place: CopyPlace): string => join('/', place.path).replaceAll(/^\/+|\/+$/gu, '');

export async function* readFakeFiles(files: FakeFiles, place: CopyPlace): AsyncGenerator<Uint8Array> {
  const path = pathOf(place);
  const found = [...files].filter(([each]) => each === path || each.startsWith(`${path}/`)).toSorted(([a], [b]) => (a < b ? -1 : 1));
  if (found.length === 0) throw new Failure('not_found', { message: `There is nothing at ${place.path} in the Instance.` });
  async function* entries(): AsyncGenerator<CopyEntry> {
    for (const [each, { entry, bytes }] of found) {
      const renamed = { ...entry, path: basename(path) + each.slice(path.length) };
      yield renamed.kind === 'file'
        ? {
            ...renamed,
            body: (async function* body() {
              yield bytes;
            })(),
          }
        : renamed;
    }
  }
  yield* writeCopy(entries(), { uid: 0, gid: 0 });
}

export async function writeFakeFiles(
  files: FakeFiles,
  place: CopyPlace,
  tar: AsyncIterable<Uint8Array>,
  { named, leaveOut, signal }: Parameters<NonNullable<Driver['writeFiles']>>[3],
): Promise<CopyReport> {
  const path = pathOf(place);
  const isFolder = path === '' || files.get(path)?.entry.kind === 'folder';
  const parent = dirname(path);
  if (!isFolder && (!named || place.path.endsWith('/') || (parent !== '.' && files.get(parent)?.entry.kind !== 'folder')))
    throw new Failure('not_found', { message: `There is no folder at ${place.path} in the Instance.` });
  const report = { files: 0, bytes: 0 };
  for await (const entry of readCopy(tar, { as: isFolder ? null : basename(path), leaveOut, signal })) {
    const chunks: Uint8Array[] = [];
    if (entry.kind === 'file') for await (const chunk of entry.body) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    files.set(join(isFolder ? path : parent, entry.path), { entry, bytes });
    if (entry.kind !== 'folder') report.files += 1;
    report.bytes += bytes.length;
  }
  return report;
}
