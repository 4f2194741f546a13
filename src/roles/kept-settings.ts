// What a machine keeps that was invited to be a control plane: the settings that all of them share, as variables, and the files by which
// the store is reached. Flags and variables of its own come before them.

import { existsSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ReplyOf } from '../api/endpoint.ts';
import type { machines } from '../api/machines.ts';
import { Failure } from '../lib/failure.ts';
import { readJsonFile, replaceFileDurably } from '../sys/durable-file.ts';
import type { DataPaths } from './paths.ts';

export type ControlGift = ReplyOf<(typeof machines)['joinControl']>;
type Variables = Readonly<Record<string, string>>;
type Paths = Pick<DataPaths, 'keptSettings' | 'storeAccess' | 'masterKey'>;

/** null: it was not invited to be one. Throws `storage_failed` where the file is damaged. */
export function readKeptVariables({ keptSettings, storeAccess }: Omit<Paths, 'masterKey'>): Variables | null {
  if (statSync(keptSettings, { throwIfNoEntry: false }) === undefined) return null;
  const value = readJsonFile(keptSettings);
  const found = typeof value === 'object' && value !== null && 'variables' in value ? value.variables : null;
  if (typeof found !== 'object' || found === null)
    throw new Failure('storage_failed', {
      message: `How this machine is a control plane stands in ${keptSettings}, which is damaged or cannot be read.`,
      hint: 'Restore the file; or delete it and start with the same --store and settings as the other control planes.',
    });
  const variables = Object.fromEntries(Object.entries(found).filter((pair): pair is [string, string] => typeof pair[1] === 'string'));
  const login = join(storeAccess, 'login');
  return {
    ...variables,
    ...(existsSync(login) ? { LIBRA_STORE_LOGIN: login } : {}),
    ...(existsSync(join(storeAccess, 'ca.pem')) ? { LIBRA_STORE_TLS: storeAccess } : {}),
  };
}

/** The master key comes last: whoever finds it there finds all. */
export async function keepGift(paths: Paths, gift: ControlGift, own: Variables): Promise<void> {
  const { name, masterKey, variables, storeLogin, storeTls } = gift;
  const files = {
    login: storeLogin,
    'ca.pem': storeTls?.ca ?? null,
    'cert.pem': storeTls?.cert ?? null,
    'key.pem': storeTls?.key ?? null,
  };
  await mkdir(paths.storeAccess, { recursive: true, mode: 0o700 });
  for (const [file, text] of Object.entries(files)) if (text !== null) await replaceFileDurably(join(paths.storeAccess, file), text);
  const kept = { variables: { ...variables, ...(name === null ? {} : { LIBRA_NODE_NAME: name }), ...own } };
  await replaceFileDurably(paths.keptSettings, `${JSON.stringify(kept)}\n`);
  await replaceFileDurably(paths.masterKey, `${masterKey}\n`);
}
