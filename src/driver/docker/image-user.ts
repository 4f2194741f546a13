// Which user id the program of an image has, so that volumes and secret files can be given to it. An image may name it; then the name is
// looked up where the image itself would: in its /etc/passwd and /etc/group.

import { lchown, lstat } from 'node:fs/promises';
import type { Engine } from './engine.ts';
import { engineStatus } from './engine-http.ts';

export interface Ids {
  readonly uid: number;
  readonly gid: number;
}

const TAR_BLOCK = 512;
const SIZE_AT = 124;
const SIZE_BYTES = 12;
const MAX_FILE_BYTES = 1024 * 1024;

/** A small file out of a container; empty where there is none. */
async function readSmallFile(engine: Engine, container: string, path: string): Promise<string> {
  try {
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of await engine.readPath(container, path)) {
      chunks.push(Buffer.from(chunk));
      bytes += chunks.at(-1)?.length ?? 0;
      if (bytes > MAX_FILE_BYTES) break;
    }
    const tar = Buffer.concat(chunks);
    const size = Number.parseInt(tar.toString('latin1', SIZE_AT, SIZE_AT + SIZE_BYTES), 8);
    return tar.toString('utf8', TAR_BLOCK, TAR_BLOCK + (Number.isNaN(size) ? 0 : size));
  } catch (error) {
    if (engineStatus(error) === 404) return '';
    throw error;
  }
}

/** Fields of the first line whose field at that place is the wanted one, as in passwd(5) and group(5). */
const entry = (text: string, at: number, wanted: string): readonly string[] =>
  text
    .split('\n')
    .map((line) => line.split(':'))
    .find((fields) => fields[at] === wanted) ?? [];

const isNumber = (text: string | undefined): text is string => text !== undefined && /^\d{1,10}$/u.test(text);

/** @param user as images and `docker run --user` have it: `name`, `uid`, `name:group`, `uid:gid`; empty: root. null: the image does not know it. */
export async function idsOfUser(engine: Engine, container: string, user: string): Promise<Ids | null> {
  const [name = '', group] = user.split(':');
  if (name === '') return { uid: 0, gid: 0 };
  if (isNumber(name) && isNumber(group)) return { uid: Number(name), gid: Number(group) };
  const [, , uid, own] = entry(await readSmallFile(engine, container, '/etc/passwd'), isNumber(name) ? 2 : 0, name);
  const ids = isNumber(name) ? name : uid;
  if (!isNumber(ids)) return null;
  const gid =
    group === undefined ? own : isNumber(group) ? group : entry(await readSmallFile(engine, container, '/etc/group'), 0, group)[2];
  return { uid: Number(ids), gid: isNumber(gid) ? Number(gid) : 0 };
}

/** Gives what is mounted, not what lies in it, to the program. Only root can. */
export async function giveMounts(sources: readonly string[], ids: Ids): Promise<void> {
  if (process.geteuid?.() !== 0) return;
  for (const source of sources) {
    const { uid, gid } = await lstat(source);
    if (uid !== ids.uid || gid !== ids.gid) await lchown(source, ids.uid, ids.gid);
  }
}
