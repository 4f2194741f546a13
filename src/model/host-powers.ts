// What a container may be let to do with the machine that it runs on. Each of these can hand the machine over, so an App asks for it in its
// manifest, an administrator grants it, and the Node looks once more at where a path really leads.

export type HostPower =
  /** All that the machine's root may do. */
  | { readonly kind: 'privileged' }
  /** The network of the machine in place of one of its own. */
  | { readonly kind: 'network' }
  /** Granted, a path stands for all below it, too. */
  | { readonly kind: 'device'; readonly path: string }
  | { readonly kind: 'folder'; readonly path: string; readonly readOnly: boolean };

/** A folder or file of the machine, and where it appears inside. */
export interface HostFolder {
  readonly path: string;
  readonly target: string;
  readonly readOnly: boolean;
}

/** What an Entrypoint asks for. */
export interface HostAsk {
  readonly privileged: boolean;
  readonly network: boolean;
  readonly devices: readonly string[];
  readonly folders: readonly HostFolder[];
}

/** The kernel's own: what lies there is no file, and much of it is a way to be root. */
const KERNEL_FOLDERS: readonly string[] = ['/proc', '/sys', '/dev'];
const READ_ONLY = ':ro';

export const isWithin = (path: string, folder: string): boolean =>
  path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);

/** What is wrong with a path as a person writes it; null: nothing. */
function pathTrouble(path: string): string | null {
  if (!/^(?:\/[^/\0-\x1f\x7f]+)+$/u.test(path) || path.length > 1000) return 'is no absolute path such as /srv/media';
  return path.split('/').some((part) => part === '.' || part === '..') ? 'may not lead back by . or ..' : null;
}

/** What keeps a folder from being mounted, whoever allows it; null: nothing. */
export function folderTrouble(path: string): string | null {
  const kernel = KERNEL_FOLDERS.find((folder) => isWithin(path, folder));
  return pathTrouble(path) ?? (kernel === undefined ? null : `is in ${kernel}, which is the kernel's`);
}

export function deviceTrouble(path: string): string | null {
  return pathTrouble(path) ?? (isWithin(path, '/dev') && path !== '/dev' ? null : 'is no device such as /dev/ttyUSB0');
}

/** As people write it and as it is told: `privileged`, `network`, `device:/dev/ttyUSB0`, `folder:/srv/media`, `folder:/srv/media:ro`. */
export function hostPowerText(power: HostPower): string {
  switch (power.kind) {
    case 'privileged':
    case 'network':
      return power.kind;
    case 'device':
      return `device:${power.path}`;
    case 'folder':
      return `folder:${power.path}${power.readOnly ? READ_ONLY : ''}`;
  }
}

/** A text says what is wrong. */
export function parseHostPower(text: string): HostPower | string {
  if (text === 'privileged' || text === 'network') return { kind: text };
  const [, kind, rest = ''] = /^(device|folder):(.*)$/su.exec(text) ?? [];
  if (kind === 'device') {
    const trouble = deviceTrouble(rest);
    return trouble === null ? { kind, path: rest } : `${rest} ${trouble}`;
  }
  if (kind === 'folder') {
    const readOnly = rest.endsWith(READ_ONLY);
    const path = readOnly ? rest.slice(0, -READ_ONLY.length) : rest;
    const trouble = folderTrouble(path);
    return trouble === null ? { kind, path, readOnly } : `${path} ${trouble}`;
  }
  return 'is none of privileged, network, device:/dev/ttyUSB0, folder:/srv/media, folder:/srv/media:ro';
}

/** In the order in which they are told. */
export function powersAsked({ privileged, network, devices, folders }: HostAsk): readonly HostPower[] {
  return [
    ...(privileged ? [{ kind: 'privileged' } as const] : []),
    ...(network ? [{ kind: 'network' } as const] : []),
    ...devices.map((path) => ({ kind: 'device', path }) as const),
    ...folders.map(({ path, readOnly }) => ({ kind: 'folder', path, readOnly }) as const),
  ];
}

/** Whether one of what was granted covers what is asked for. */
export function isGranted(granted: readonly HostPower[], asked: HostPower): boolean {
  return granted.some((power) => {
    switch (asked.kind) {
      case 'privileged':
      case 'network':
        return power.kind === asked.kind;
      case 'device':
        return power.kind === 'device' && isWithin(asked.path, power.path);
      case 'folder':
        return power.kind === 'folder' && isWithin(asked.path, power.path) && (asked.readOnly || !power.readOnly);
    }
  });
}

/** In words, after “asks for”. */
export function describePower(power: HostPower): string {
  switch (power.kind) {
    case 'privileged':
      return 'all powers over its machine (privileged)';
    case 'network':
      return 'the network of its machine';
    case 'device':
      return `the device ${power.path} of its machine`;
    case 'folder':
      return `${power.path} of its machine${power.readOnly ? ', to read' : ''}`;
  }
}
