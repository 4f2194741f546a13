// Reads libra.yaml. Every problem of the whole file is told at once, each with its line and column; a manifest comes out only when there
// is none. Never throws, whatever the text.

import type { z } from 'zod';
import { checkEntrypoint } from './manifest-checks.ts';
import type { Report } from './manifest-checks.ts';
import { completeRollout, rolloutSection } from './manifest-canary.ts';
import { completeBuild, completeEntrypoint, completeEnvironment } from './manifest-defaults.ts';
import { found, isRecord } from './manifest-fields.ts';
import type { At } from './manifest-fields.ts';
import {
  TOP_KEYS,
  appName,
  buildSection,
  entrypointSection,
  envSection,
  environmentSection,
  providesSection,
  usesSection,
} from './manifest-schema.ts';
import type { EntrypointInput, EnvironmentInput, GrantInput } from './manifest-schema.ts';
import type { Manifest, ManifestProblem } from './manifest-types.ts';
import { nameTrouble } from './manifest-values.ts';
import { checkWhole, keysOf } from './manifest-whole-checks.ts';
import { parseYaml } from './manifest-yaml.ts';
import { nearest } from './nearest.ts';
import type { ServiceGrant } from './service-policy.ts';

export interface ParsedManifest {
  /** null where there is any problem. */
  readonly manifest: Manifest | null;
  /** In the order of the file; at most 100. */
  readonly problems: readonly ManifestProblem[];
}

const MAX_PROBLEMS = 100;
/** Characters of a path or message; both can hold the user's own text. */
const MAX_TEXT = 300;
const MAX_ENTRYPOINTS = 50;
const MAX_ENVIRONMENTS = 100;

/** `file` is only the name that problems carry. */
export function parseManifest(text: string, file = 'libra.yaml'): ParsedManifest {
  const yaml = parseYaml(text);
  const problems: ManifestProblem[] = yaml.problems.map((problem) => ({
    file,
    path: '',
    ...problem,
    message: problem.message.slice(0, MAX_TEXT),
  }));
  const report: Report = (path, message, at: At = 'value') => {
    // Nobody reads on after so many, and to locate each would take its time.
    if (problems.length > MAX_PROBLEMS) return;
    problems.push({
      file,
      ...yaml.placeOf(path, at),
      path: path.map(String).join('.').slice(0, MAX_TEXT),
      message: message.slice(0, MAX_TEXT),
    });
  };
  const manifest = yaml.value === undefined ? null : readManifest(yaml.value, report);
  return { manifest: problems.length === 0 ? manifest : null, problems: inOrder(problems) };
}

/** `file:line:column: path: message`, as compilers print it. */
export function formatProblem(problem: ManifestProblem): string {
  const place = `${problem.file}:${problem.line}:${problem.column}`;
  return problem.path === '' ? `${place}: ${problem.message}` : `${place}: ${problem.path}: ${problem.message}`;
}

function inOrder(problems: readonly ManifestProblem[]): readonly ManifestProblem[] {
  const distinct = new Map(problems.map((problem) => [formatProblem(problem), problem]));
  const sorted = [...distinct.values()].toSorted((a, b) => a.line - b.line || a.column - b.column);
  const last = sorted[MAX_PROBLEMS];
  if (last === undefined) return sorted;
  return [
    ...sorted.slice(0, MAX_PROBLEMS - 1),
    { ...last, path: '', message: 'there are more problems than can be listed; solve these first' },
  ];
}

function readManifest(value: unknown, report: Report): Manifest | null {
  if (!isRecord(value)) {
    report([], `expected a mapping with app, entrypoints …, ${found(value)}`);
    return null;
  }
  for (const key of Object.keys(value)) if (!TOP_KEYS.includes(key)) report([key], unknownKey(key, TOP_KEYS), 'key');
  const read = <T>(key: string, schema: z.ZodType<T>): T | undefined =>
    value[key] === undefined ? undefined : take(schema, value[key], [key], report);

  const app = take(appName, value['app'], ['app'], report);
  const build = read('build', buildSection);
  const env = read('env', envSection);
  const rollout = read('rollout', rolloutSection);
  const uses = read('uses', usesSection);
  const entrypoints = readEntrypoints(value['entrypoints'], report);
  const provides = readNamed(value['provides'], 'provides', 'Services', providesSection, 100, report);
  const environments = readNamed<EnvironmentInput>(
    value['environments'],
    'environments',
    'Environments',
    environmentSection,
    MAX_ENVIRONMENTS,
    report,
  );
  checkWhole(
    {
      build,
      buildKnown: build !== undefined || value['build'] === undefined,
      entrypoints,
      entrypointNames: keysOf(value['entrypoints']),
      provides,
      uses: uses ?? [],
      environments,
    },
    report,
  );
  if (app === undefined) return null;

  const completeBuilding = completeBuild(build);
  // An image or a folder of files runs by itself.
  const wanted: ReadonlyMap<string, EntrypointInput> = entrypoints.size > 0 ? entrypoints : new Map([['web', {}]]);
  const providing = new Set([...provides.values()].map((service) => service.entrypoint));
  return {
    app,
    build: completeBuilding,
    env: env ?? {},
    canary: completeRollout(rollout),
    entrypoints: Object.fromEntries(
      [...wanted].map(([name, input]) => [name, completeEntrypoint(name, input, completeBuilding, providing.has(name))]),
    ),
    provides: Object.fromEntries(
      [...provides].map(([name, { entrypoint, path, allow }]) => [
        name,
        { entrypoint, path: path ?? '/', allow: (allow ?? []).map(grantOf) },
      ]),
    ),
    uses: uses ?? [],
    environments: Object.fromEntries([...environments].map(([name, input]) => [name, completeEnvironment(input)])),
  };
}

/** Without what was not said: it is stored. */
function grantOf(input: GrantInput): ServiceGrant {
  if (typeof input === 'string') return input;
  const { app, methods, paths } = input;
  return { app, ...(methods === undefined ? {} : { methods }), ...(paths === undefined ? {} : { paths }) };
}

function readEntrypoints(value: unknown, report: Report): ReadonlyMap<string, EntrypointInput> {
  const entrypoints = readNamed<EntrypointInput>(value, 'entrypoints', 'Entrypoints', entrypointSection, MAX_ENTRYPOINTS, report);
  if (isRecord(value)) {
    for (const [name, raw] of Object.entries(value).slice(0, MAX_ENTRYPOINTS)) if (isRecord(raw)) checkEntrypoint(name, raw, report);
  }
  return entrypoints;
}

/** A mapping of names to sections, each read by itself, so that a mistake in one hides nothing of the others. */
function readNamed<T>(
  value: unknown,
  key: string,
  what: string,
  schema: z.ZodType<T>,
  max: number,
  report: Report,
): ReadonlyMap<string, T> {
  const result = new Map<string, T>();
  if (value === undefined) return result;
  if (!isRecord(value)) {
    report([key], `expected a mapping of ${what}, ${found(value)}`);
    return result;
  }
  const entries = Object.entries(value);
  if (entries.length > max) report([key], `at most ${max} ${what}, found ${entries.length}`, 'key');
  for (const [name, raw] of entries.slice(0, max)) {
    const trouble = nameTrouble(name);
    if (trouble !== null) report([key, name], trouble, 'key');
    const parsed = take(schema, raw, [key, name], report);
    if (parsed !== undefined) result.set(name, parsed);
  }
  return result;
}

/** The parsed value, or undefined after its problems were reported. */
function take<T>(schema: z.ZodType<T>, value: unknown, path: readonly PropertyKey[], report: Report): T | undefined {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  for (const issue of parsed.error.issues) {
    const place = [...path, ...issue.path];
    if (issue.code === 'unrecognized_keys') {
      // The section put its keys into the message.
      for (const key of issue.keys) report([...place, key], unknownKey(key, issue.message.split(' ')), 'key');
    } else {
      report(place, issue.message, issue.code === 'custom' && issue.params?.['at'] === 'key' ? 'key' : 'value');
    }
  }
  return undefined;
}

function unknownKey(key: string, valid: readonly string[]): string {
  const meant = nearest(key, valid);
  return meant === null ? `unknown key; expected one of ${valid.join(', ')}` : `unknown key; did you mean ${meant}?`;
}
