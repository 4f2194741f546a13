// The format of the whole data folder, kept in one small file, so that an older program refuses a newer folder before it touches anything.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure, messageOf } from '../lib/failure.ts';
import { replaceFileDurably } from '../sys/durable-file.ts';

/** Grows when the layout of the folder changes in a way that older programs must not write to. */
export const DATA_FORMAT = 1;

interface FormatFile {
  readonly format: number;
  /** Version of the program that wrote it last. */
  readonly program: string;
}

/** Marks a new folder, passes a known one, throws `data_newer` for a newer one and `storage_failed` where the mark is unreadable. */
export async function checkDataFormat(dataFolder: string, programVersion: string): Promise<void> {
  const path = join(dataFolder, 'format.json');
  const found = readFormat(path);
  if (found !== null && found.format > DATA_FORMAT) {
    throw new Failure('data_newer', {
      message: `The data folder ${dataFolder} was written by Libra ${found.program} (format ${found.format}); this is ${programVersion}, which knows formats up to ${DATA_FORMAT}.`,
      hint: `Start Libra ${found.program} or newer, or choose another folder with --data.`,
      details: { dataFolder, format: found.format, known: DATA_FORMAT, program: found.program },
    });
  }
  if (found?.format === DATA_FORMAT && found.program === programVersion) return;
  const mark: FormatFile = { format: DATA_FORMAT, program: programVersion };
  try {
    await replaceFileDurably(path, `${JSON.stringify(mark)}\n`);
  } catch (error) {
    throw unusable(path, `cannot be written: ${messageOf(error)}`, error);
  }
}

function readFormat(path: string): FormatFile | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw unusable(path, `cannot be read: ${messageOf(error)}`, error);
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && 'format' in value && 'program' in value) {
      if (typeof value.format === 'number' && typeof value.program === 'string') return { format: value.format, program: value.program };
    }
  } catch (error) {
    throw unusable(path, 'is not valid JSON', error);
  }
  throw unusable(path, 'has an unknown content', undefined);
}

function unusable(path: string, why: string, cause: unknown): Failure {
  return new Failure('storage_failed', {
    message: `The file ${path} ${why}.`,
    hint: 'Check the permissions and the free space of the data folder; a damaged one comes back from a backup.',
    details: { path },
    cause,
  });
}
