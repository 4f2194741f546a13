// The single values that a manifest is made of, each with its own wording of what is expected.

import type { z } from 'zod';
import { splitCommand } from './command.ts';
import { parseDurationMs } from './duration.ts';
import { field, list, mapOf, section, either, found } from './manifest-fields.ts';
import type { EnvValue } from './manifest-types.ts';
import { NAME_RULE, isHostName, isName, isRouteHost, isReservedVariable, isSecretName, isVariableName } from './names.ts';
import { nearest } from './nearest.ts';
import { parseBytes, parseCpu } from './quantity.ts';

const DAY_MS = 86_400_000;
const SIGNALS: readonly string[] = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH', 'SIGKILL'];
const IMAGE = /^[a-z0-9][a-zA-Z0-9._:/@-]{0,254}$/u;
const HEADER = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/u;

/** Whether the text holds control characters, which no path, header value or line may. */
function hasControl(text: string): boolean {
  for (const character of text) if (character < ' ' || character === '\u007f') return true;
  return false;
}

export const bool: z.ZodType<boolean> = field('true or false', (value) => (typeof value === 'boolean' ? value : undefined));

export function integer(min: number, max: number): z.ZodType<number> {
  return field(`a whole number from ${min} to ${max}`, (value) =>
    typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max ? value : undefined,
  );
}

export function oneOf<const T extends string>(words: readonly T[]): z.ZodType<T> {
  return field(`one of ${words.join(', ')}`, (value) => {
    const known = words.find((word) => word === value);
    if (known !== undefined || typeof value !== 'string') return known;
    const meant = nearest(value, words);
    return new Error(`expected one of ${words.join(', ')}, ${found(value)}${meant === null ? '' : `; did you mean ${meant}?`}`);
  });
}

export function text(expected: string, accepts: (value: string) => boolean): z.ZodType<string> {
  return field(expected, (value) => (typeof value === 'string' && accepts(value) ? value : undefined));
}

export function duration(minMs = 0, maxMs = DAY_MS): z.ZodType<number> {
  return field('a duration such as 5s, 1m30s or 500ms', (value) => {
    const ms = typeof value === 'string' ? parseDurationMs(value) : value === 0 ? 0 : null;
    if (ms === null)
      return typeof value === 'number'
        ? new Error(`expected a duration with its unit, ${found(value)}; did you mean ${value}s?`)
        : undefined;
    if (ms < minMs || ms > maxMs) return new Error(`expected a duration from ${minMs} ms to ${maxMs / 1000} s, ${found(value)}`);
    return ms;
  });
}

const MIN_BYTES = 4 * 2 ** 20;

export const bytes: z.ZodType<number> = field('an amount such as 256Mi, 1Gi or 1.5G', (value) => {
  const amount = typeof value === 'string' ? parseBytes(value) : typeof value === 'number' && Number.isSafeInteger(value) ? value : null;
  if (amount === null) return undefined;
  if (amount < MIN_BYTES)
    return new Error(`expected at least 4Mi, ${found(value)}${typeof value === 'number' ? `; did you mean ${value}Mi?` : ''}`);
  return amount;
});

export const cpu: z.ZodType<number> = field('a number of cores such as 0.5, 2 or 500m', (value) => {
  const cores = typeof value === 'number' ? parseCpu(String(value)) : typeof value === 'string' ? parseCpu(value) : null;
  return cores !== null && cores >= 0.001 && cores <= 1024 ? cores : undefined;
});

export const name: z.ZodType<string> = text(NAME_RULE, isName);

export function nameTrouble(key: string): string | null {
  return isName(key) ? null : `is not a valid name: expected ${NAME_RULE}`;
}

const secretName: z.ZodType<string> = text('the name of a Secret: lower-case letters, digits, . _ -', isSecretName);

const envValue: z.ZodType<EnvValue> = either(
  field('text, or { secret: name }', (value) => {
    if (typeof value === 'string') return value.includes('\u0000') ? new Error('a variable cannot hold a NUL character') : value;
    return value === null ? new Error('expected text, found nothing; write "" for an empty value') : undefined;
  }),
  section({ secret: secretName }),
);

function variableTrouble(key: string): string | null {
  if (!isVariableName(key)) return 'is not a valid variable name: expected letters, digits and _, not starting with a digit';
  return isReservedVariable(key) ? 'is set by Libra itself (PORT, HOST and LIBRA_*); choose another name' : null;
}

export const env: z.ZodType<Readonly<Record<string, EnvValue>>> = mapOf('variables', variableTrouble, envValue);

const word: z.ZodType<string> = field('a word (put numbers into quotes)', (value) => {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  return typeof value === 'string' && !value.includes('\u0000') ? value : undefined;
});
const words = list(word, 'words', 1000);

/** A text that is split into words, or a list of words. */
export const command: z.ZodType<readonly string[]> = field('a command: text, or a list of words', (value) => {
  if (Array.isArray(value)) {
    const parsed = words.safeParse(value);
    if (!parsed.success) return new Error(parsed.error.issues[0]?.message ?? '');
    return parsed.data.length === 0 || parsed.data[0] === '' ? new Error('the command is empty') : parsed.data;
  }
  if (typeof value !== 'string') return undefined;
  const split = splitCommand(value);
  return split.ok ? split.words : new Error(split.message);
});

export const commands: z.ZodType<(readonly string[])[]> = list(command, 'commands', 50);

export const image: z.ZodType<string> = text('the name of an image, such as registry.example.com/team/app:1', (value) => IMAGE.test(value));

/** A relative path that cannot lead out of the bundle. */
export const innerPath: z.ZodType<string> = field('a path inside the folder', (value) => {
  if (typeof value !== 'string' || value === '' || value.length > 1000 || hasControl(value)) return undefined;
  if (value.startsWith('/')) return new Error(`expected a path inside the folder, found the absolute path ${value}`);
  const parts = value.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) return new Error(`expected a path inside the folder, but ${value} leads out of it`);
  return parts.length === 0 ? '.' : parts.join('/');
});

/** Where a volume or file shall appear. */
export const absolutePath: z.ZodType<string> = text(
  'an absolute path without ..',
  (value) => /^\/./u.test(value) && value.length <= 1000 && !hasControl(value) && !value.split('/').includes('..'),
);

export const urlPath: z.ZodType<string> = text(
  'a path that starts with /',
  (value) => value.startsWith('/') && value.length <= 1000 && !hasControl(value) && !/[\s?#]/u.test(value),
);

/** The path of a health check; a query is fine there. */
export const probePath: z.ZodType<string> = text(
  'a path that starts with /',
  (value) => value.startsWith('/') && value.length <= 1000 && !hasControl(value) && !/[\s#]/u.test(value),
);

function hostField(expected: string, isHost: (lower: string) => boolean): z.ZodType<string> {
  return field(expected, (value) => (typeof value === 'string' ? readHost(value, isHost) : undefined));
}

function readHost(value: string, isHost: (lower: string) => boolean): string | Error | undefined {
  const lower = value.toLowerCase();
  if (isHost(lower)) return lower;
  if (/^https?:\/\//u.test(lower)) return new Error(`expected a host name alone, ${found(value)}; leave out the scheme`);
  return /^[^:]+:\d+$/u.test(lower) ? new Error(`expected a host name alone, ${found(value)}; leave out the port`) : undefined;
}

/** What a Route may claim. */
export const routeHost: z.ZodType<string> = hostField(
  'a host name such as shop.example.com, *.example.com, or "*" for every host',
  isRouteHost,
);

export const host: z.ZodType<string> = hostField('a host name such as shop.example.com', isHostName);

/** A token of RFC 9110 §5.6.2, as the names of header fields and cookies are. */
export function token(expected: string): z.ZodType<string> {
  return text(expected, (value) => HEADER.test(value));
}

/** In lower case: names of header fields compare without case. */
export const headerName: z.ZodType<string> = field('the name of a header field', (value) =>
  typeof value === 'string' && HEADER.test(value) ? value.toLowerCase() : undefined,
);

export const port: z.ZodType<number> = integer(1, 65535);

export const signal: z.ZodType<string> = oneOf(SIGNALS);

export const fileMode: z.ZodType<number> = field('a mode such as "0400"', (value) =>
  typeof value === 'string' && /^0?[0-7]{3}$/u.test(value) ? Number.parseInt(value, 8) : undefined,
);

export { secretName };
