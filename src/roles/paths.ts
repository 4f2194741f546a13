// Where everything lies in the data folder. One place, so that roles that run as different processes agree.

import { chmod, mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Failure } from '../lib/failure.ts';

export interface DataPaths {
  readonly data: string;
  readonly ownerToken: string;
  readonly masterKey: string;
  readonly store: string;
  readonly blobs: string;
  readonly node: string;
  readonly run: string;
  readonly logs: string;
  readonly edge: string;
  readonly addresses: string;
  /** What the data plane needs to find control again: URL and token. */
  readonly edgeConnection: string;
  /** Of each worker. */
  readonly edgeOptions: (worker: number) => string;
  readonly edgeSocket: (worker: number) => string;
  readonly accessLog: (worker: number) => string;
  readonly edgeTable: string;
  /** Which container calls from which address. */
  readonly containerCallers: string;
  readonly callLog: (worker: number) => string;
  /** What a machine was given that was invited to be a control plane: settings, and how the store is reached. */
  readonly keptSettings: string;
  readonly storeAccess: string;
  /** Where a machine joined; absent on one that is a platform of its own. */
  readonly membership: string;
  /** What it shows to other machines; the key of one that is about to join. */
  readonly identity: string;
  readonly pendingIdentity: string;
}

/** The first worker's names are those of a single one. */
const suffix = (worker: number): string => (worker === 0 ? '' : `-${worker}`);

export function dataPaths(data: string): DataPaths {
  const run = join(data, 'run');
  const edge = join(data, 'edge');
  return {
    data,
    ownerToken: join(data, 'owner.token'),
    masterKey: join(data, 'master.key'),
    store: join(data, 'store.db'),
    blobs: join(data, 'blobs'),
    node: join(data, 'node'),
    run,
    logs: join(data, 'logs'),
    edge,
    addresses: join(run, 'addresses.json'),
    edgeConnection: join(run, 'edge-connection.json'),
    edgeOptions: (worker) => join(run, `edge-options${suffix(worker)}.json`),
    edgeSocket: (worker) => join(run, `edge${suffix(worker)}.sock`),
    accessLog: (worker) => join(data, 'logs', `access${suffix(worker)}.log`),
    edgeTable: join(edge, 'table.json'),
    containerCallers: join(run, 'container-callers.json'),
    callLog: (worker) => join(data, 'logs', `calls${suffix(worker)}.log`),
    keptSettings: join(data, 'control.json'),
    storeAccess: join(data, 'store-access'),
    membership: join(data, 'membership.json'),
    identity: join(data, 'identity.json'),
    pendingIdentity: join(data, 'identity.pending.json'),
  };
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
}

/** mkdir with its parents. Node's own recursive mode never ends where a parent exists that takes no folders, such as /proc. */
async function makeFolder(folder: string, mode: number): Promise<void> {
  const make = async (): Promise<void> => {
    await mkdir(folder, { mode }).catch(async (error: unknown) => {
      if (codeOf(error) !== 'EEXIST' || !(await stat(folder)).isDirectory()) throw error;
    });
  };
  try {
    await make();
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' || dirname(folder) === folder) throw error;
    await makeFolder(dirname(folder), mode);
    await make();
  }
}

/** Makes the folders. As root the path down to the Instances must be passable for the users of Apps; otherwise all is private. */
export async function makeDataFolders(paths: DataPaths, isRoot: boolean): Promise<void> {
  try {
    const passable = isRoot ? 0o711 : 0o700;
    await makeFolder(paths.data, passable);
    await makeFolder(paths.node, passable);
    // Whatever the umask of whoever started it.
    for (const folder of [paths.data, paths.node]) await chmod(folder, passable);
    for (const folder of [paths.blobs, paths.run, paths.logs, paths.edge]) await makeFolder(folder, 0o700);
  } catch (error) {
    const code = codeOf(error);
    throw new Failure('storage_failed', {
      message: `The data folder ${paths.data} cannot be used: ${code === 'EROFS' ? 'its disk is read-only' : code === 'EACCES' || code === 'EPERM' ? 'this user may not write there' : code === 'ENOSPC' ? 'the disk is full' : code === 'ENOTDIR' || code === 'EEXIST' ? 'a file is in its place' : code}.`,
      hint: 'Choose another with --data or LIBRA_DATA, or mend this one.',
      cause: error,
    });
  }
}
