// What an Instance that runs in a container gets of the agent's folders, and under which paths it sees them: volumes and secret files where
// the manifest says. A folder keeps its own paths besides, so that it runs in its base image as it would without.

import { dirname } from 'node:path';
import type { DesiredInstance } from '../api/agent.ts';
import { API_PROXY_HOST, parseUse, serviceHost } from '../model/service-policy.ts';
import type { ContainerPart, Mount } from '../driver/contract.ts';

/** Where an image finds the folder with its token. */
export const IDENTITY_INSIDE = '/run/libra/identity';

export interface AgentFolders {
  readonly work: string;
  readonly home: string;
  readonly tmp: string;
  /** Volume name → real path. */
  readonly volumes: ReadonlyMap<string, string>;
  /** `link`: where the App expects it. */
  readonly files: readonly { readonly secret: string; readonly path: string; readonly link: string }[];
  /** With its token. Mounted as a folder: the file in it is replaced. null: it has none. */
  readonly identity: string | null;
}

/** `tls-key` → `TLS_KEY`. */
export const variableOf = (name: string): string => name.toUpperCase().replaceAll(/[^A-Z0-9]/gu, '_');

/** What it runs in; undefined: it names no image. */
export const imageOf = (spec: DesiredInstance): string | undefined =>
  spec.artifact.kind === 'image' ? spec.artifact.reference : spec.base;

/** In the network of the machine its ports are the machine's, as those of a plain process. */
export const sharesPorts = (spec: DesiredInstance): boolean => spec.container?.host?.network === true;

interface MachinePort {
  readonly address: string;
  readonly port: number | null;
  /** The API Proxy listens in its network. */
  readonly reachesServices: boolean;
}

/** undefined: there is no image to run it in. @param at where of the machine it is reached */
export function containerPart(
  spec: DesiredInstance,
  { address, port, reachesServices }: MachinePort,
  folders: AgentFolders,
): ContainerPart | undefined {
  const image = imageOf(spec);
  if (image === undefined) return undefined;
  const isFolder = spec.artifact.kind === 'bundle';
  return {
    image,
    address,
    group: `${spec.app.id}/${spec.environment?.id ?? ''}`,
    port: port === null || sharesPorts(spec) ? port : (spec.port ?? port),
    workFolder: isFolder ? folders.work : null,
    ...(spec.container === undefined ? {} : { options: spec.container }),
    ...(spec.granted === undefined ? {} : { granted: spec.granted }),
    ...(reachesServices && !sharesPorts(spec)
      ? { machineNames: [API_PROXY_HOST, ...(spec.uses ?? []).map((use) => serviceHost(parseUse(use)))] }
      : {}),
    mounts: [...(isFolder ? folderMounts(spec, folders) : imageMounts(spec, folders)), ...identityMounts(isFolder, folders)],
  };
}

function identityMounts(isFolder: boolean, { identity }: AgentFolders): readonly Mount[] {
  return identity === null ? [] : [{ source: identity, target: isFolder ? identity : IDENTITY_INSIDE, readOnly: true }];
}

function folderMounts(spec: DesiredInstance, folders: AgentFolders): readonly Mount[] {
  const { work, home, tmp, volumes, files } = folders;
  const [first] = files;
  const same = (path: string, readOnly = false): Mount => ({ source: path, target: path, readOnly });
  return [
    ...[work, home, tmp, ...volumes.values()].map((path) => same(path)),
    ...(first === undefined ? [] : [same(dirname(first.path), true)]),
    // Relative paths are links in the work folder.
    ...imageMounts(spec, folders).flatMap(({ source, target, readOnly }) => (target.startsWith('/') ? [{ source, target, readOnly }] : [])),
  ];
}

function imageMounts(spec: DesiredInstance, { volumes, files }: AgentFolders): readonly Mount[] {
  return [
    ...spec.volumes.flatMap(({ name, path }) => {
      const source = volumes.get(name);
      return source === undefined ? [] : [{ source, target: path, readOnly: false, variable: `LIBRA_VOLUME_${variableOf(name)}` }];
    }),
    ...files.map(({ secret, path, link }) => ({
      source: path,
      target: link,
      readOnly: true,
      variable: `LIBRA_FILE_${variableOf(secret)}`,
    })),
  ];
}
