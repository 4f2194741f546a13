// The store that the settings name: a file of the data folder, memory, or an etcd cluster, whose client is loaded only then.

import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Settings } from '../config.ts';
import type { Clock } from '../lib/clock.ts';
import { Failure, messageOf } from '../lib/failure.ts';
import { createMemoryStore } from '../store/memory.ts';
import { refuseHalfCopy } from '../store/migrate.ts';
import { openSqliteStore } from '../store/sqlite.ts';
import type { Store } from '../store/store.ts';

export interface OpenedStore {
  readonly store: Store;
  /** For people: `sqlite`, `memory`, `etcd`. */
  readonly engine: string;
  /** Other machines can reach it. */
  readonly isShared: boolean;
}

const DEFAULT_NAME = 'libra';

/** Throws `storage_failed` too where it is a copy that was broken off. */
export async function openStore(settings: Settings, options: { readonly file: string; readonly clock: Clock }): Promise<OpenedStore> {
  const opened = await openAny(settings, settings.store ?? 'sqlite', options);
  try {
    await refuseHalfCopy(opened.store);
  } catch (error) {
    await opened.store.close();
    throw error;
  }
  return opened;
}

/** The store of this name, in whatever state it is. */
export async function openAny(
  settings: Pick<Settings, 'storeTls' | 'storeLogin'>,
  url: string,
  { file, clock }: { readonly file: string; readonly clock: Clock },
): Promise<OpenedStore> {
  if (url === 'memory') return { store: createMemoryStore({ clock }), engine: 'memory', isShared: false };
  if (url === 'sqlite') return { store: await openSqliteStore({ path: file, clock }), engine: 'sqlite', isShared: false };
  const [{ createEtcdClient }, { openEtcdStore }] = await Promise.all([import('../store/etcd-client.ts'), import('../store/etcd.ts')]);
  const [, scheme = '', members = '', name = DEFAULT_NAME] = /^(etcds?):\/\/([^/]+)(?:\/(.+))?$/u.exec(url) ?? [];
  const endpoints = members.split(',').map((member) => `${scheme === 'etcds' ? 'https' : 'http'}://${member}`);
  const client = createEtcdClient(endpoints, {
    ...(settings.storeTls === null ? {} : { tls: await tlsFiles(settings.storeTls) }),
    ...(settings.storeLogin === null ? {} : { login: await loginIn(settings.storeLogin) }),
  });
  return { store: await openEtcdStore({ client, prefix: name }), engine: 'etcd', isShared: true };
}

async function readSecret(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new Failure('invalid_input', { message: `The file ${file} with ${what} of the store cannot be read: ${messageOf(error)}` });
  }
}

/** `ca.pem`, and `cert.pem` with `key.pem` where the cluster asks for a certificate. */
async function tlsFiles(folder: string): Promise<{ readonly ca: string; readonly cert?: string; readonly key?: string }> {
  const ca = await readSecret(join(folder, 'ca.pem'), 'the authority');
  const names = await readdir(folder);
  if (!names.includes('cert.pem') && !names.includes('key.pem')) return { ca };
  const [cert, key] = await Promise.all([
    readSecret(join(folder, 'cert.pem'), 'the certificate'),
    readSecret(join(folder, 'key.pem'), 'the key'),
  ]);
  return { ca, cert, key };
}

async function loginIn(file: string): Promise<{ readonly name: string; readonly password: string }> {
  const line = (await readSecret(file, 'the login')).trim();
  const colon = line.indexOf(':');
  if (colon < 1) throw new Failure('invalid_input', { message: `The file ${file} has to hold the login of the store as name:password.` });
  return { name: line.slice(0, colon), password: line.slice(colon + 1) };
}

/** What the store is reached with, as it stands in the files that the settings name. */
export async function storeFiles({ storeTls, storeLogin }: Pick<Settings, 'storeTls' | 'storeLogin'>): Promise<{
  readonly storeLogin: string | null;
  readonly storeTls: { readonly ca: string; readonly cert: string | null; readonly key: string | null } | null;
}> {
  const [login, tls] = await Promise.all([
    storeLogin === null ? null : readSecret(storeLogin, 'the login'),
    storeTls === null ? null : tlsFiles(storeTls),
  ]);
  return { storeLogin: login, storeTls: tls === null ? null : { ca: tls.ca, cert: tls.cert ?? null, key: tls.key ?? null } };
}
