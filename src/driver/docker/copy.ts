// Files of a container, through the engine, which keeps within the container whatever links lead where. What comes in is checked first,
// and belongs to whom the program runs as.

import { basename, dirname, isAbsolute, join } from 'node:path/posix';
import { Failure } from '../../lib/failure.ts';
import { readCopy, writeCopy } from '../../sys/copy-tar.ts';
import type { CopyEntry } from '../../sys/copy-tar.ts';
import type { CopyReport } from '../../sys/copy-unpack.ts';
import type { CopyPlace, Driver } from '../contract.ts';
import type { Engine, PathFacts } from './engine.ts';
import { textOf } from './fields.ts';
import { idsOfUser } from './image-user.ts';

interface Located {
  readonly path: string;
  /** null: nothing is there. */
  readonly facts: PathFacts | null;
}

/** Where a path of the container leads, a link at its end followed. */
async function locate(engine: Engine, container: string, { path, workFolder }: CopyPlace, inspected: unknown): Promise<Located> {
  const base = workFolder ?? textOf(inspected, 'Config', 'WorkingDir') ?? '';
  const whole = isAbsolute(path) ? path : join(base === '' ? '/' : base, path);
  const facts = await engine.statPath(container, whole);
  if (facts === null || facts.target === null) return { path: whole, facts };
  return { path: facts.target, facts: await engine.statPath(container, facts.target) };
}

export async function* readFiles(engine: Engine, container: string, place: CopyPlace): AsyncGenerator<Uint8Array> {
  const { path, facts } = await locate(engine, container, place, await engine.inspectContainer(container));
  if (facts === null) throw new Failure('not_found', { message: `There is nothing at ${path} in the container.` });
  const tar = await engine.readPath(container, path);
  try {
    yield* tar;
  } finally {
    tar.destroy();
  }
}

export async function writeFiles(
  engine: Engine,
  container: string,
  place: CopyPlace,
  tar: AsyncIterable<Uint8Array>,
  { named, leaveOut, signal }: Parameters<NonNullable<Driver['writeFiles']>>[3],
): Promise<CopyReport> {
  const inspected = await engine.inspectContainer(container);
  const { path, facts } = await locate(engine, container, place, inspected);
  const isFolder = facts?.isFolder === true;
  if (!isFolder && (!named || place.path.endsWith('/')))
    throw new Failure('not_found', { message: `There is no folder at ${path} in the container.` });
  const into = isFolder ? path : dirname(path);
  const owner = (await idsOfUser(engine, container, textOf(inspected, 'Config', 'User') ?? '')) ?? { uid: 0, gid: 0 };
  const report = { files: 0, bytes: 0 };
  let failure: unknown = null;
  async function* counted(): AsyncGenerator<CopyEntry> {
    for await (const entry of readCopy(tar, { as: isFolder ? null : basename(path), leaveOut, signal })) {
      if (entry.kind !== 'folder') report.files += 1;
      if (entry.kind === 'file') report.bytes += entry.sizeBytes;
      yield entry;
    }
  }
  async function* sent(): AsyncGenerator<Uint8Array> {
    try {
      yield* writeCopy(counted(), owner);
    } catch (error) {
      failure = error;
      throw error;
    }
  }
  try {
    await engine.writePath(container, into, sent(), signal);
  } catch (error) {
    // What broke off the upload, rather than that it broke off.
    throw failure ?? error;
  }
  return report;
}
