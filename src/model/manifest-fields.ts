// The bricks of the manifest's schema: a field with its own wording of what is expected, a section that knows its keys, a map, and a choice
// between a short and a long form. All of them report every problem they see, each at its own path.

import { z } from 'zod';

/** Whether a problem is about the key itself or about its value; decides which of the two the position points at. */
export type At = 'key' | 'value';

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** How a value is told in a message; long ones are cut. */
export function found(value: unknown): string {
  if (value === undefined || value === null) return 'found nothing';
  if (Array.isArray(value)) return 'found a list';
  if (typeof value === 'object') return 'found a mapping';
  const text = typeof value === 'number' ? String(value) : JSON.stringify(value);
  return `found ${text.length > 60 ? `${text.slice(0, 57)}…` : text}`;
}

/** One value. `parse` gives the value, undefined where it is not what is expected, or an Error that says more. */
export function field<T>(expected: string, parse: (value: unknown) => T | Error | undefined): z.ZodType<T> {
  return z.unknown().transform((value, context): T => {
    const parsed = value === undefined ? undefined : parse(value);
    if (parsed !== undefined && !(parsed instanceof Error)) return parsed;
    const message =
      parsed instanceof Error
        ? parsed.message
        : value === undefined
          ? `is missing: expected ${expected}`
          : `expected ${expected}, ${found(value)}`;
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  });
}

/** A mapping with exactly these keys. The message of its unknown-key issue is the list of valid keys, for "did you mean". */
export function section<S extends z.ZodRawShape>(shape: S): z.ZodObject<S, z.core.$strict> {
  const keys = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys' ? keys.join(' ') : `expected a mapping with ${sample(keys)}, ${found(issue.input)}`,
  });
}

function sample(keys: readonly string[]): string {
  return keys.length <= 6 ? keys.join(', ') : `${keys.slice(0, 6).join(', ')} …`;
}

export function list<T>(item: z.ZodType<T>, what: string, max = 100): z.ZodType<T[]> {
  return z
    .array(item, { error: (issue) => `expected a list of ${what}, ${found(issue.input)}` })
    .max(max, { error: `at most ${max} ${what}` });
}

/** A mapping with names of the user's choice. `checkKey` tells what is wrong with a name, or null. */
export function mapOf<T>(
  what: string,
  checkKey: (key: string) => string | null,
  value: z.ZodType<T>,
  max = 500,
): z.ZodType<Readonly<Record<string, T>>> {
  return z.unknown().transform((input, context): Readonly<Record<string, T>> => {
    if (!isRecord(input)) {
      context.addIssue({ code: 'custom', message: `expected a mapping of ${what}, ${found(input)}` });
      return z.NEVER;
    }
    const entries = Object.entries(input);
    if (entries.length > max) context.addIssue({ code: 'custom', message: `at most ${max} ${what}, found ${entries.length}` });
    const result: [string, T][] = [];
    for (const [key, raw] of entries.slice(0, max)) {
      const trouble = checkKey(key);
      if (trouble !== null) context.addIssue({ code: 'custom', message: trouble, path: [key], params: { at: 'key' satisfies At } });
      const parsed = value.safeParse(raw);
      if (parsed.success) result.push([key, parsed.data]);
      else forward(context, parsed.error.issues, [key]);
    }
    return Object.fromEntries(result);
  });
}

/** A mapping is read as the long form, all else as the short one; so the problems are those of the form that was meant. */
export function either<A, B>(short: z.ZodType<A>, long: z.ZodType<B>): z.ZodType<A | B> {
  return z.unknown().transform((input, context): A | B => {
    const parsed = isRecord(input) ? long.safeParse(input) : short.safeParse(input);
    if (parsed.success) return parsed.data;
    forward(context, parsed.error.issues, []);
    return z.NEVER;
  });
}

function forward(context: z.RefinementCtx, issues: readonly z.core.$ZodIssue[], prefix: readonly string[]): void {
  for (const issue of issues) {
    const path = [...prefix, ...issue.path];
    if (issue.code === 'unrecognized_keys') {
      context.addIssue({ code: 'unrecognized_keys', keys: issue.keys, message: issue.message, path });
    } else {
      const params = issue.code === 'custom' ? issue.params : undefined;
      context.addIssue({ code: 'custom', message: issue.message, path, ...(params === undefined ? undefined : { params }) });
    }
  }
}
