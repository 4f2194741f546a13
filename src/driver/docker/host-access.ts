// What of the machine a container is given, found out on the Node itself just before the start: where each path really leads, whether that
// was granted, and whether anybody could still make it lead elsewhere until Docker has mounted it. What is not sure is not given.

import { lstat, realpath, statfs } from 'node:fs/promises';
import { dirname } from 'node:path/posix';
import { Failure, isFailure, messageOf } from '../../lib/failure.ts';
import { describePower, folderTrouble, hostPowerText, isGranted, isWithin } from '../../model/host-powers.ts';
import type { HostAsk, HostPower } from '../../model/host-powers.ts';
import type { Mount } from '../contract.ts';

export interface HostAccess {
  readonly privileged: boolean;
  readonly network: boolean;
  /** `path`: the device itself; `target`: as it was asked for. */
  readonly devices: readonly { readonly path: string; readonly target: string }[];
  readonly folders: readonly Mount[];
}

export const NO_ACCESS: HostAccess = { privileged: false, network: false, devices: [], folders: [] };

export interface HostFacts {
  readonly granted: readonly HostPower[];
  /** Never mounted, nor anything that they lie in: what librad keeps, and the socket of the engine. */
  readonly own: readonly string[];
  /** Folders of the machine that containers which run now may write to. */
  readonly writable: readonly string[];
}

/** Bits of a mode: others than the owner may write. */
const OTHERS_WRITE = 0o022;
const STICKY = 0o1000;
/** File systems that the kernel makes up: of /proc, /sys, and of cgroups, in both versions. */
const KERNEL_TYPES: ReadonlySet<number> = new Set([0x9fa0, 0x62656572, 0x27e0eb, 0x63677270]);

const refusal = (message: string, hint?: string): Failure =>
  new Failure('start_failed', { message, hint, details: { reason: 'not_allowed' } });

function notGranted(power: HostPower, asked: string): Failure {
  const path = 'path' in power && power.path !== asked ? `: ${asked} leads there` : '';
  return refusal(
    `It asks for ${describePower(power)}, which no administrator has granted${path}.`,
    `An administrator grants it with: libra grants add <app> ${hostPowerText(power)}`,
  );
}

/** What a look at a path finds out; a path that is not there, or no longer, is refused. */
async function looking<T>(asked: string, look: () => Promise<T>): Promise<T> {
  try {
    return await look();
  } catch (error) {
    if (isFailure(error)) throw error;
    throw refusal(`${asked} cannot be used on this Node: ${messageOf(error)}.`, 'See that it is there on every Node that the App runs on.');
  }
}

async function deviceOf(asked: string, { granted }: HostFacts): Promise<HostAccess['devices'][number]> {
  const path = await realpath(asked);
  const power: HostPower = { kind: 'device', path };
  if (!isWithin(path, '/dev') || !isGranted(granted, power)) throw notGranted(power, asked);
  const entry = await lstat(path);
  if (!entry.isCharacterDevice() && !entry.isBlockDevice()) throw refusal(`${asked} is no device.`);
  return { path, target: asked };
}

async function folderOf({ path: asked, target, readOnly }: HostAsk['folders'][number], facts: HostFacts): Promise<Mount> {
  const path = await realpath(asked);
  const power: HostPower = { kind: 'folder', path, readOnly };
  const trouble = folderTrouble(path);
  if (trouble !== null) throw refusal(`${asked} is not mounted: ${path} ${trouble}.`);
  const own = facts.own.find((each) => isWithin(path, each) || isWithin(each, path));
  if (own !== undefined) throw refusal(`${asked} is not mounted: it would give away ${own}, and with that the machine.`);
  if (!isGranted(facts.granted, power)) throw notGranted(power, asked);
  const entry = await lstat(path);
  if (!entry.isDirectory() && !entry.isFile()) throw refusal(`${asked} is not mounted: it is neither a folder nor a file.`);
  if (KERNEL_TYPES.has((await statfs(path)).type)) throw refusal(`${asked} is not mounted: what lies there is the kernel's.`);
  await insistFixed(path, facts.writable);
  return { source: path, target, readOnly };
}

/** Docker looks the path up once more: nobody but root may be able to put something else there until then. */
async function insistFixed(path: string, writable: readonly string[]): Promise<void> {
  const isTrusted = (uid: number): boolean => uid === 0 || uid === process.geteuid?.();
  for (let [inner, folder] = [path, dirname(path)]; inner !== '/'; [inner, folder] = [folder, dirname(folder)]) {
    const { uid, mode } = await lstat(folder);
    const isKept = (mode & STICKY) !== 0 && isTrusted((await lstat(inner)).uid);
    if (!isTrusted(uid) || ((mode & OTHERS_WRITE) !== 0 && !isKept)) {
      throw refusal(
        `${path} is not mounted: others than root can replace what lies in ${folder}.`,
        `Make ${folder} writable by root alone, or mount ${folder} itself.`,
      );
    }
  }
  const open = writable.find((folder) => isWithin(dirname(path), folder));
  if (open !== undefined) {
    throw refusal(
      `${path} is not mounted: a container that runs here can write to ${open}, and so replace it.`,
      `Mount ${open} itself, or only to read where it is mounted now.`,
    );
  }
}

/** Throws `start_failed` with the reason `not_allowed` where anything of it is not to be had. */
export async function resolveHost(ask: HostAsk, facts: HostFacts): Promise<HostAccess> {
  for (const kind of ['privileged', 'network'] as const)
    if (ask[kind] && !isGranted(facts.granted, { kind })) throw notGranted({ kind }, kind);
  return {
    privileged: ask.privileged,
    network: ask.network,
    devices: await Promise.all(ask.devices.map((path) => looking(path, () => deviceOf(path, facts)))),
    folders: await Promise.all(ask.folders.map((folder) => looking(folder.path, () => folderOf(folder, facts)))),
  };
}
