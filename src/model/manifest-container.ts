// The `container` section of an Entrypoint: what the file may say, and what then counts.

import type { z } from 'zod';
import { isNamespacedSysctl, SAFE_CAPABILITIES, ULIMITS } from './container-options.ts';
import type { ContainerOptions, Ulimit } from './container-options.ts';
import { deviceTrouble, folderTrouble } from './host-powers.ts';
import type { HostAsk } from './host-powers.ts';
import { field, found, isRecord, list, mapOf, section } from './manifest-fields.ts';
import { absolutePath, bool, bytes, oneOf } from './manifest-values.ts';
import type { At } from './manifest-fields.ts';
import { nearest } from './nearest.ts';
import { parseBytes } from './quantity.ts';

const UNLIMITED = -1;

/** A number of files, seconds and so on, an amount of bytes, or `unlimited`. */
function limitOf(value: unknown): number | null {
  if (value === 'unlimited') return UNLIMITED;
  const amount = typeof value === 'number' ? value : typeof value === 'string' ? parseBytes(value) : null;
  return amount !== null && Number.isSafeInteger(amount) && amount >= 0 ? amount : null;
}

const ulimit: z.ZodType<Ulimit> = field('a number, an amount such as 64Mi, unlimited, or { soft, hard }', (value) => {
  if (!isRecord(value)) {
    const both = limitOf(value);
    return both === null ? undefined : { soft: both, hard: both };
  }
  const unknown = Object.keys(value).find((key) => key !== 'soft' && key !== 'hard');
  if (unknown !== undefined) return new Error(`unknown key ${unknown}; expected soft, hard`);
  const [soft, hard] = [limitOf(value['soft']), limitOf(value['hard'])];
  if (soft === null || hard === null) return undefined;
  const isAbove = hard !== UNLIMITED && (soft === UNLIMITED || soft > hard);
  return isAbove ? new Error('soft cannot be more than hard') : { soft, hard };
});

const ulimits = mapOf('ulimits', ulimitTrouble, ulimit, ULIMITS.size).check((context) => {
  for (const [name, { hard }] of Object.entries(context.value)) {
    const most = ULIMITS.get(name) ?? null;
    if (most !== null && (hard === UNLIMITED || hard > most))
      context.issues.push({ code: 'custom', message: `cannot be more than ${most}`, path: [name], input: hard });
  }
});

function ulimitTrouble(key: string): string | null {
  if (ULIMITS.has(key)) return null;
  const meant = nearest(key, [...ULIMITS.keys()]);
  return meant === null ? `is no ulimit of a container; expected one of ${[...ULIMITS.keys()].join(', ')}` : `did you mean ${meant}?`;
}

const sysctl: z.ZodType<string> = field('a number, or text in quotes', (value) => {
  const text = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value;
  return typeof text === 'string' && /^[\w ./:,-]{1,200}$/u.test(text) ? text : undefined;
});

const sysctls = mapOf(
  'sysctls',
  (key) =>
    isNamespacedSysctl(key)
      ? null
      : `is not a setting that a container has for itself: expected kernel.shm…, kernel.msg…, kernel.sem, fs.mqueue.… or net.…, ${found(key)}`,
  sysctl,
  50,
);

/** A path of the machine. It may lead elsewhere by links: that is looked at on the Node. */
const hostPath = (expected: string, trouble: (path: string) => string | null): z.ZodType<string> =>
  field(expected, (value) => {
    if (typeof value !== 'string') return undefined;
    const path = value.replace(/(?<=.)\/+$/u, '');
    const wrong = trouble(path);
    return wrong === null ? path : new Error(`${path} ${wrong}`);
  });

const host = section({
  privileged: bool.optional(),
  network: bool.optional(),
  devices: list(hostPath('the path of a device', deviceTrouble), 'devices', 50).optional(),
  folders: list(
    section({
      path: hostPath('the path of a folder of the machine', folderTrouble),
      target: absolutePath.optional(),
      readOnly: bool.optional(),
    }),
    'folders',
    50,
  ).optional(),
});

export const containerSection = section({
  host: host.optional(),
  readOnly: bool.optional(),
  capabilities: list(oneOf(SAFE_CAPABILITIES), 'capabilities', SAFE_CAPABILITIES.length).optional(),
  ulimits: ulimits.optional(),
  sysctls: sysctls.optional(),
  sharedMemory: bytes.optional(),
}).check((context) => {
  if (context.value.host?.network !== true) return;
  for (const key of Object.keys(context.value.sysctls ?? {})) {
    if (!key.startsWith('net.')) continue;
    const params = { at: 'key' satisfies At };
    context.issues.push({
      code: 'custom',
      message: 'is the machine’s own with `host: { network: true }`',
      path: ['sysctls', key],
      params,
      input: key,
    });
  }
});

export function completeContainer(input: z.output<typeof containerSection>): ContainerOptions {
  return {
    readOnly: input.readOnly ?? false,
    capabilities: [...new Set(input.capabilities ?? [])].sort(),
    ulimits: input.ulimits ?? {},
    sysctls: input.sysctls ?? {},
    sharedMemoryBytes: input.sharedMemory ?? null,
    ...(input.host === undefined ? {} : { host: completeHost(input.host) }),
  };
}

function completeHost({ privileged, network, devices, folders }: z.output<typeof host>): HostAsk {
  return {
    privileged: privileged ?? false,
    network: network ?? false,
    devices: [...new Set(devices ?? [])],
    folders: (folders ?? []).map(({ path, target, readOnly }) => ({ path, target: target ?? path, readOnly: readOnly ?? false })),
  };
}
