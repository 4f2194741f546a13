// Errors of SQLite, and of the file system below it, as Failures that say what is wrong with which file and what to do.

import { Failure, messageOf } from '../lib/failure.ts';

type Trouble = 'busy' | 'read-only' | 'full' | 'damaged' | 'unreachable' | 'io' | 'other';

/** Primary result codes, https://sqlite.org/rescode.html */
const BY_RESULT_CODE: ReadonlyMap<unknown, Trouble> = new Map<unknown, Trouble>([
  [5, 'busy'],
  [8, 'read-only'],
  [10, 'io'],
  [11, 'damaged'],
  [13, 'full'],
  [14, 'unreachable'],
  [26, 'damaged'],
]);

const BY_ERRNO: ReadonlyMap<unknown, Trouble> = new Map<unknown, Trouble>([
  ['EACCES', 'read-only'],
  ['EPERM', 'read-only'],
  ['EROFS', 'read-only'],
  ['ENOSPC', 'full'],
  ['EDQUOT', 'full'],
  ['ENOENT', 'unreachable'],
  ['ENOTDIR', 'unreachable'],
  ['EIO', 'io'],
]);

function troubleOf(error: unknown): Trouble {
  if (!(error instanceof Error)) return 'other';
  if ('errcode' in error && typeof error.errcode === 'number') return BY_RESULT_CODE.get(error.errcode & 0xff) ?? 'other';
  return ('code' in error ? BY_ERRNO.get(error.code) : undefined) ?? 'other';
}

/** Any error about the database file `path`; a Failure comes back unchanged. */
export function sqliteFailure(error: unknown, path: string): Failure {
  if (error instanceof Failure) return error;
  const failed = (message: string, hint: string): Failure =>
    new Failure('storage_failed', { message, hint, details: { path }, cause: error });
  const trouble = troubleOf(error);
  switch (trouble) {
    case 'busy':
      return new Failure('data_in_use', {
        message: `The database ${path} is in use by another process.`,
        hint: 'Stop the platform that runs on this data folder, or choose another folder with --data.',
        details: { path },
        cause: error,
      });
    case 'read-only':
      return failed(
        `The database ${path} cannot be written: it, its folder or its disk is read-only for this user.`,
        'Give the user of librad write permission, or choose another folder with --data.',
      );
    case 'full':
      return failed(`The disk of ${path} is full.`, 'Free some space; nothing that was acknowledged is lost.');
    case 'damaged':
      return failed(
        `The database ${path} is damaged: ${messageOf(error)}.`,
        'Keep the file, and bring the data folder back from a backup.',
      );
    case 'unreachable':
      return failed(`The database ${path} cannot be opened.`, 'Check that its folder exists and may be read and written by this user.');
    case 'io':
      return failed(`The disk refused to read or write ${path}: ${messageOf(error)}.`, 'Check the free space and the health of the disk.');
    case 'other':
      break;
  }
  return failed(`The database ${path} failed: ${messageOf(error)}.`, 'The log of librad has the cause.');
}
