// Hands folders over to the user that an App runs as, without ever following a link that the App's bundle may hold.

import { lchown, opendir } from 'node:fs/promises';
import { join } from 'node:path';

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Gives `path` and all in it to the owner. */
export async function giveTo(owner: Owner | null, path: string): Promise<void> {
  if (owner === null) return;
  await lchown(path, owner.uid, owner.gid);
  for await (const entry of await opendir(path)) {
    const inner = join(path, entry.name);
    if (entry.isDirectory()) await giveTo(owner, inner);
    else await lchown(inner, owner.uid, owner.gid);
  }
}
