// Errors of the file system as Failures that say which file and what to do.

import { Failure, messageOf } from '../lib/failure.ts';

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

export function isMissing(error: unknown): boolean {
  return codeOf(error) === 'ENOENT';
}

/** True where the disk or a quota is exhausted. */
export function isFull(error: unknown): boolean {
  const code = codeOf(error);
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG';
}

/** Any error met at `path`; a Failure comes back unchanged. */
export function storageFailure(error: unknown, path: string): Failure {
  if (error instanceof Failure) return error;
  const failed = (message: string, hint: string): Failure =>
    new Failure('storage_failed', { message, hint, details: { path }, cause: error });
  if (isFull(error)) return failed(`The disk of ${path} is full.`, 'Free some space, then upload again.');
  switch (codeOf(error)) {
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return failed(`${path} may not be read or written.`, 'Give the user of librad read and write permission on the data folder.');
    case 'EMFILE':
    case 'ENFILE':
      return failed(`Too many files are open to read or write ${path}.`, 'Raise the limit of open files (`ulimit -n`).');
    default:
      return failed(`The disk refused to read or write ${path}: ${messageOf(error)}.`, 'Check the health of the disk.');
  }
}
