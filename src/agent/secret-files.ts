// Secret files of an Instance, in memory-backed storage where the machine has it (invariant 8), readable by the App's user alone.

import { createHash } from 'node:crypto';
import { chmod, lstat, mkdir, readdir, rmdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { DesiredInstance } from '../api/agent.ts';
import { removeTree } from '../sys/remove-tree.ts';

interface SecretFile {
  /** Name of the Secret. */
  readonly secret: string;
  /** Where it really lies. */
  readonly path: string;
  /** Where the App expects it, inside its work folder. */
  readonly link: string;
}

export interface SecretFiles {
  /** null, or why secrets lie on a disk. */
  readonly notEnforced: string | null;
  paths(spec: DesiredInstance): readonly SecretFile[];
  /** Writes all files of the Instance anew. Answers the folder that holds them; null where it has none. */
  write(spec: DesiredInstance): Promise<string | null>;
  remove(instanceId: string): Promise<void>;
  /** Removes what Instances left that are not known. */
  sweep(known: ReadonlySet<string>): Promise<void>;
  /** Gives the place back where no Instance has files there any more. */
  close(): Promise<void>;
}

const MEMORY_FOLDER = '/dev/shm';

/** `fallback` is a folder on disk for machines without memory-backed storage. */
export async function createSecretFiles(dataFolder: string, fallback: string): Promise<SecretFiles> {
  // Named after the data folder, so that several platforms on one machine do not meet.
  const inMemory = join(MEMORY_FOLDER, `libra-${createHash('sha256').update(dataFolder).digest('hex').slice(0, 16)}`);
  const usable = await ownFolder(inMemory);
  const root = usable ? inMemory : fallback;
  const folder = (id: string): string => join(root, id);
  const paths = (spec: DesiredInstance): readonly SecretFile[] =>
    spec.files.map((file, index) => {
      const name = basename(file.path);
      return { secret: file.secret ?? name, path: join(folder(spec.id), `${index}-${name}`), link: file.path };
    });
  return {
    notEnforced: usable ? null : `secret files are not memory-backed: ${MEMORY_FOLDER} cannot be used`,
    paths,
    write: async (spec) => {
      await removeTree(folder(spec.id));
      if (spec.files.length === 0) return null;
      await mkdir(folder(spec.id), { recursive: true, mode: 0o700 });
      for (const [index, { path }] of paths(spec).entries()) {
        const file = spec.files[index];
        if (file === undefined) continue;
        await writeFile(path, Buffer.from(file.contentBase64, 'base64'), { mode: 0o600, flag: 'wx' });
        await chmod(path, file.mode & 0o777);
      }
      return folder(spec.id);
    },
    remove: (instanceId) => removeTree(folder(instanceId)),
    sweep: async (known) => {
      for (const id of await readdir(root).catch(() => [])) {
        if (!known.has(id)) await removeTree(folder(id));
      }
    },
    close: async () => {
      await rmdir(root).catch((error: unknown) => {
        // Instances live on with their files, or there never were any.
        if (!isErrno(error, 'ENOTEMPTY') && !isErrno(error, 'ENOENT')) throw error;
      });
    },
  };
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

/** A folder that is ours: the place is writable for everybody, so one that somebody else made first is not used. */
async function ownFolder(path: string): Promise<boolean> {
  try {
    await mkdir(path, { recursive: true, mode: 0o711 });
    const stats = await lstat(path);
    return stats.isDirectory() && stats.uid === process.getuid?.() && (stats.mode & 0o022) === 0;
  } catch {
    return false;
  }
}
