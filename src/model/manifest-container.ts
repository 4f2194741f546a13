// The `container` section of an Entrypoint: what the file may say, and what then counts.

import type { z } from 'zod';
import { isNamespacedSysctl, SAFE_CAPABILITIES, ULIMITS } from './container-options.ts';
import type { ContainerOptions, Ulimit } from './container-options.ts';
import { field, found, isRecord, list, mapOf, section } from './manifest-fields.ts';
import { bool, bytes, oneOf } from './manifest-values.ts';
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

export const containerSection = section({
  readOnly: bool.optional(),
  capabilities: list(oneOf(SAFE_CAPABILITIES), 'capabilities', SAFE_CAPABILITIES.length).optional(),
  ulimits: ulimits.optional(),
  sysctls: sysctls.optional(),
  sharedMemory: bytes.optional(),
});

export function completeContainer(input: z.output<typeof containerSection>): ContainerOptions {
  return {
    readOnly: input.readOnly ?? false,
    capabilities: [...new Set(input.capabilities ?? [])].sort(),
    ulimits: input.ulimits ?? {},
    sysctls: input.sysctls ?? {},
    sharedMemoryBytes: input.sharedMemory ?? null,
  };
}
