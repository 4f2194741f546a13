// SQLite's errors as Failures that say what is wrong with which file and what to do.

import { Failure, messageOf } from '../lib/failure.ts';

// Primary result codes, https://sqlite.org/rescode.html
const BUSY = 5;
const READONLY = 8;
const IOERR = 10;
const CORRUPT = 11;
const FULL = 13;
const CANTOPEN = 14;
const NOTADB = 26;

function resultCode(error: unknown): number {
  if (typeof error !== 'object' || error === null || !('errcode' in error) || typeof error.errcode !== 'number') return 0;
  return error.errcode & 0xff;
}

/** Any error of node:sqlite about the database file `path`; a Failure comes back unchanged. */
export function sqliteFailure(error: unknown, path: string): Failure {
  if (error instanceof Failure) return error;
  const failed = (message: string, hint: string): Failure =>
    new Failure('storage_failed', { message, hint, details: { path }, cause: error });
  switch (resultCode(error)) {
    case BUSY:
      return new Failure('data_in_use', {
        message: `The database ${path} is in use by another process.`,
        hint: 'Stop the platform that runs on this data folder, or choose another folder with --data.',
        details: { path },
        cause: error,
      });
    case READONLY:
      return readOnly(path, error);
    case FULL:
      return failed(`The disk of ${path} is full.`, 'Free some space; nothing that was acknowledged is lost.');
    case CORRUPT:
    case NOTADB:
      return failed(
        `The database ${path} is damaged (${messageOf(error)}).`,
        'Keep the file, and bring the data folder back from a backup with `libra restore`.',
      );
    case CANTOPEN:
      return failed(`The database ${path} cannot be opened.`, 'Check that its folder exists and may be read and written by this user.');
    case IOERR:
      return failed(`The disk refused to read or write ${path} (${messageOf(error)}).`, 'Check the free space and the health of the disk.');
    default:
      return failed(`The database ${path} failed: ${messageOf(error)}.`, 'The log of librad has the cause.');
  }
}

/** A file or folder that this user may not write. */
export function readOnly(path: string, cause: unknown): Failure {
  return new Failure('storage_failed', {
    message: `The database ${path} cannot be written: it, its folder or its disk is read-only for this user.`,
    hint: 'Give the user of librad write permission, or choose another folder with --data.',
    details: { path },
    cause,
  });
}
