// Secret files of an Instance, in memory-backed storage where the machine has it (invariant 8), readable by the App's user alone.

import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { DesiredInstance } from '../api/agent.ts';
import { createMemoryFolder } from './memory-folder.ts';
import type { MemoryFolder } from './memory-folder.ts';

interface SecretFile {
  /** Name of the Secret. */
  readonly secret: string;
  /** Where it really lies. */
  readonly path: string;
  /** Where the App expects it, inside its work folder. */
  readonly link: string;
}

export interface SecretFiles extends Pick<MemoryFolder, 'remove' | 'sweep' | 'close'> {
  /** null, or why secrets lie on a disk. */
  readonly notEnforced: string | null;
  paths(spec: DesiredInstance): readonly SecretFile[];
  /** Writes all files of the Instance anew. Answers the folder that holds them; null where it has none. */
  write(spec: DesiredInstance): Promise<string | null>;
}

/** `fallback` is a folder on disk for machines without memory-backed storage. */
export async function createSecretFiles(dataFolder: string, fallback: string): Promise<SecretFiles> {
  const place = await createMemoryFolder(dataFolder, '', fallback);
  const paths = (spec: DesiredInstance): readonly SecretFile[] =>
    spec.files.map((file, index) => {
      const name = basename(file.path);
      return { secret: file.secret ?? name, path: join(place.of(spec.id), `${index}-${name}`), link: file.path };
    });
  return {
    ...place,
    notEnforced: place.onDisk === null ? null : `secret files are not memory-backed: ${place.onDisk}`,
    paths,
    write: async (spec) => {
      await place.remove(spec.id);
      if (spec.files.length === 0) return null;
      await mkdir(place.of(spec.id), { recursive: true, mode: 0o700 });
      for (const [index, { path }] of paths(spec).entries()) {
        const file = spec.files[index];
        if (file === undefined) continue;
        await writeFile(path, Buffer.from(file.contentBase64, 'base64'), { mode: 0o600, flag: 'wx' });
        await chmod(path, file.mode & 0o777);
      }
      return place.of(spec.id);
    },
  };
}
