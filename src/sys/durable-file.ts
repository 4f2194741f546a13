// Small files that must never be seen half written: a temporary file beside it, then a rename.

import { closeSync, fsync, openSync, readFileSync, renameSync, unlinkSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

let sequence = 0;

function writeTemporary(path: string, text: string, mode: number): { readonly temporary: string; readonly fd: number } {
  sequence += 1;
  const temporary = `${path}.${process.pid}.${sequence}.tmp`;
  const fd = openSync(temporary, 'w', mode);
  try {
    const bytes = Buffer.from(text, 'utf8');
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
  } catch (error) {
    closeSync(fd);
    unlinkSync(temporary);
    throw error;
  }
  return { temporary, fd };
}

/** Replaces the file; survives the death of this process, not that of the machine. */
export function replaceFileSync(path: string, text: string, mode = 0o600): void {
  const { temporary, fd } = writeTemporary(path, text, mode);
  closeSync(fd);
  renameSync(temporary, path);
}

const flush = (fd: number): Promise<void> =>
  new Promise((resolve, reject) => {
    fsync(fd, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });

/** Replaces the file; when it resolves, the content survives the death of the machine too. */
export async function replaceFileDurably(path: string, text: string, mode = 0o600): Promise<void> {
  const { temporary, fd } = writeTemporary(path, text, mode);
  try {
    await flush(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, path);
  const folder = openSync(dirname(path), 'r');
  try {
    await flush(folder);
  } finally {
    closeSync(folder);
  }
}

/** The parsed content; null when the file is absent or not JSON (a machine that died may leave an empty file). */
export function readJsonFile(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}
