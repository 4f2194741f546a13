// Folders by descriptor, entered part by part and never through a link: where somebody else may change names meanwhile, neither a read nor
// a write can be led elsewhere.

import { constants } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

export interface OpenFolder {
  readonly handle: FileHandle;
  /** Leads to this very folder, whatever happens to its name. */
  readonly path: string;
}

/** Rejects with ENOTDIR or ELOOP where it is no folder but a link to one. */
export async function openFolder(path: string): Promise<OpenFolder> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  // Elsewhere Apps have no users of their own, who could do the agent harm.
  return { handle, path: process.platform === 'linux' ? `/proc/self/fd/${handle.fd}` : path };
}

export interface Descent {
  /** The folder at these parts below the first one; those that are missing are made where `make` says how. It is closed by the next call. */
  enter(parts: readonly string[], make?: (folder: OpenFolder) => Promise<void>): Promise<OpenFolder>;
  /** All but the folder that it began with. */
  close(): Promise<void>;
}

/** Goes up and down below a folder; what two places have in common stays open in between. */
export function createDescent(root: OpenFolder): Descent {
  const way: { readonly name: string; readonly folder: OpenFolder }[] = [];
  const leave = async (count: number): Promise<void> => {
    for (const { folder } of way.splice(count).toReversed()) await folder.handle.close();
  };
  const current = (): OpenFolder => way.at(-1)?.folder ?? root;
  return {
    enter: async (parts, make) => {
      const common = parts.findIndex((name, index) => way[index]?.name !== name);
      await leave(common === -1 ? parts.length : common);
      for (const name of parts.slice(way.length)) {
        const path = join(current().path, name);
        const isNew =
          make !== undefined &&
          (await mkdir(path, 0o700).then(
            () => true,
            (error: unknown) => {
              if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
              throw error;
            },
          ));
        const folder = await openFolder(path);
        way.push({ name, folder });
        if (isNew) await make?.(folder);
      }
      return current();
    },
    close: () => leave(0),
  };
}
