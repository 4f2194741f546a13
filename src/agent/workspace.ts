// Makes the folders of an Instance: a private, writable copy of its bundle, home and temporary folder, volumes and secret files. What
// is half made is never used: the work folder appears in one step.

import { mkdir, rename, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { DesiredInstance } from '../api/agent.ts';
import type { Driver, RunSpec } from '../driver/contract.ts';
import { removeTree } from '../sys/remove-tree.ts';
import type { BundleCache } from './bundle-cache.ts';
import { containerPart, IDENTITY_INSIDE, imageOf, sharesPorts } from './container-part.ts';
import type { AgentFolders } from './container-part.ts';
import { environmentOf } from './environment.ts';
import { tokenFile } from './identity-tokens.ts';
import type { IdentityTokens } from './identity-tokens.ts';
import type { ImageMirror } from './image-mirror.ts';
import type { SecretFiles } from './secret-files.ts';
import type { VolumeOwners } from './volume-owners.ts';
import { linkInto, volumePaths } from './volumes.ts';

export interface WorkspaceOptions {
  /** Folder of one Instance by id. */
  readonly folder: (id: string) => string;
  readonly volumesFolder: string;
  readonly volumeOwners: Pick<VolumeOwners, 'make'>;
  readonly bundles: BundleCache;
  /** Of images that the platform built. */
  readonly images: Pick<ImageMirror, 'source'>;
  readonly secrets: SecretFiles;
  readonly nodeName: string;
  readonly searchPath: string | null;
  readonly tokens: Pick<IdentityTokens, 'folder' | 'write' | 'remove'>;
  /** Where Instances reach Services: those in the network of this machine, and those that have one of their own; null: nowhere. */
  readonly apiProxy: { readonly url: string | null; readonly insideUrl: string | null };
  readonly logBytes: number;
  /** Of this machine, where what listens is reached. */
  readonly address: string;
  /** Whether a driver of this name runs programs in containers. */
  readonly hasOwnPorts: (driver: string) => boolean;
}

export interface Workspace {
  /** Everything that must be there before a start. Idempotent; an existing work folder is kept as the program left it. */
  prepare(spec: DesiredInstance, driver: Driver, signal: AbortSignal): Promise<void>;
  /** A fresh token in the folder that is the App's, which is made where it is not there. */
  writeToken(spec: DesiredInstance, driver: Driver): Promise<void>;
  /** What the driver is given; the folders need not exist for that. */
  runSpec(spec: DesiredInstance, attempt: number, port: number | null, argv: readonly string[]): RunSpec;
  /** Folders whose contents count against the disk quota of the Instance, and the quota of each, bytes. */
  quotas(spec: DesiredInstance): readonly { readonly path: string; readonly name: string; readonly bytes: number }[];
  workFolder(id: string): string;
  /** All that its program may fill. */
  folders(spec: DesiredInstance): readonly string[];
  /** Bytes of output that are kept of an Instance. */
  readonly logBytes: number;
  logFolder(id: string): string;
  /** For people: what could not be done as it should. */
  notEnforced(spec: DesiredInstance): readonly string[];
  /** Deletes all but state and logs. */
  clean(id: string): Promise<void>;
}

export function createWorkspace(options: WorkspaceOptions): Workspace {
  const at = (id: string, name: string): string => join(options.folder(id), name);

  const makeWork = async (spec: DesiredInstance, driver: Driver, signal: AbortSignal): Promise<void> => {
    const work = at(spec.id, 'work');
    if (await exists(work)) return;
    const draft = at(spec.id, 'work.new');
    await removeTree(draft);
    await mkdir(draft, { recursive: true, mode: 0o755 });
    if (spec.artifact.kind === 'bundle') await options.bundles.unpack(spec.artifact.digest, draft, signal);
    await driver.prepareFolders?.(spec.app.id, [draft]);
    await rename(draft, work);
  };

  const writeToken = async (spec: DesiredInstance, driver: Driver): Promise<void> => {
    const folder = options.tokens.write(spec);
    if (folder !== null) await driver.prepareFolders?.(spec.app.id, [folder]);
  };

  return {
    writeToken,
    prepare: async (spec, driver, signal) => {
      const image = imageOf(spec);
      const blob = spec.artifact.kind === 'image' ? spec.artifact.blob : undefined;
      const from = blob === undefined ? undefined : await options.images.source(blob.digest);
      if (image !== undefined) await driver.fetchImage?.(image, signal, from);
      await mkdir(options.folder(spec.id), { recursive: true, mode: 0o711 });
      await makeWork(spec, driver, signal);
      const work = at(spec.id, 'work');
      const volumes = volumePaths(options.volumesFolder, spec);
      if (spec.environment !== null && volumes.size > 0) await options.volumeOwners.make(spec.environment.id);
      for (const path of [at(spec.id, 'home'), at(spec.id, 'tmp'), ...volumes.values()]) await makeFolder(path, spec, driver);
      // An image has paths of its own: there they are mounted.
      const isLinked = spec.artifact.kind === 'bundle' || !options.hasOwnPorts(spec.driver);
      for (const volume of isLinked ? spec.volumes : []) {
        const path = volumes.get(volume.name);
        if (path !== undefined) await linkInto(work, volume.path, path);
      }
      const secretFolder = await options.secrets.write(spec);
      if (secretFolder !== null) await driver.prepareFolders?.(spec.app.id, [secretFolder]);
      await writeToken(spec, driver);
      for (const file of isLinked ? options.secrets.paths(spec) : []) await linkInto(work, file.link, file.path);
    },
    runSpec: (spec, attempt, port, argv) => {
      const folders: AgentFolders = {
        work: at(spec.id, 'work'),
        home: at(spec.id, 'home'),
        tmp: at(spec.id, 'tmp'),
        volumes: volumePaths(options.volumesFolder, spec),
        files: options.secrets.paths(spec),
        identity: options.tokens.folder(spec),
      };
      const container = options.hasOwnPorts(spec.driver)
        ? containerPart(spec, { address: options.address, port, reachesServices: options.apiProxy.insideUrl !== null }, folders)
        : undefined;
      const isImage = container !== undefined && container.workFolder === null;
      const isInside = container !== undefined && !sharesPorts(spec);
      const tokenFolder = folders.identity !== null && isImage ? IDENTITY_INSIDE : folders.identity;
      return {
        key: `${spec.id}.${attempt}`,
        instanceId: spec.id,
        appId: spec.app.id,
        artifact: spec.artifact,
        argv,
        env: environmentOf(spec, {
          nodeName: options.nodeName,
          searchPath: container === undefined ? options.searchPath : null,
          identityFile: tokenFolder === null ? null : tokenFile(tokenFolder),
          apiProxy: isInside ? options.apiProxy.insideUrl : options.apiProxy.url,
          folders: isImage ? null : folders,
          host: isInside ? '0.0.0.0' : options.address,
          port: container === undefined ? port : container.port,
          volumes: isImage ? new Map(spec.volumes.map(({ name, path }) => [name, path])) : folders.volumes,
          files: new Map(folders.files.map((file) => [file.secret, isImage ? file.link : file.path])),
        }),
        workFolder: folders.work,
        logFolder: at(spec.id, 'logs'),
        logBytes: options.logBytes,
        port,
        resources: spec.resources,
        cores: null,
        service: spec.role === 'service',
        ...(container === undefined ? {} : { container }),
      };
    },
    quotas: (spec) => {
      const volumes = volumePaths(options.volumesFolder, spec);
      return [
        { path: options.folder(spec.id), name: 'its folder', bytes: spec.resources.diskBytes },
        ...spec.volumes.flatMap((volume) => {
          const path = volumes.get(volume.name);
          const bytes = volume.sizeBytes > 0 ? volume.sizeBytes : spec.resources.diskBytes;
          return path === undefined ? [] : [{ path, name: `the volume ${volume.name}`, bytes }];
        }),
      ];
    },
    workFolder: (id) => at(id, 'work'),
    folders: (spec) => [...['work', 'home', 'tmp'].map((name) => at(spec.id, name)), ...volumePaths(options.volumesFolder, spec).values()],
    logBytes: options.logBytes,
    logFolder: (id) => at(id, 'logs'),
    notEnforced: (spec) => (spec.files.length > 0 && options.secrets.notEnforced !== null ? [options.secrets.notEnforced] : []),
    clean: async (id) => {
      await options.secrets.remove(id);
      await options.tokens.remove(id);
      for (const name of ['work', 'home', 'tmp']) {
        for (const path of [at(id, name), at(id, `${name}.new`)]) await removeTree(path);
      }
    },
  };
}

/** What is in it belongs to the App already: only a new folder is handed over. */
async function makeFolder(path: string, spec: DesiredInstance, driver: Driver): Promise<void> {
  if (await exists(path)) return;
  await mkdir(dirname(path), { recursive: true, mode: 0o711 });
  const draft = `${path}.new`;
  await mkdir(draft, { recursive: true, mode: 0o700 });
  await driver.prepareFolders?.(spec.app.id, [draft]);
  await rename(draft, path);
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );
