// What a developer's program is started with: the command of its Entrypoint and the variables that a Deployment would give it now, but for
// those that only an Instance has. Values are in memory alone.

import { effectiveEnv } from '../model/effective.ts';
import { expandWords } from '../model/expand.ts';
import type { EntrypointSpec, Manifest } from '../model/manifest-types.ts';
import { serviceVariables } from '../model/service-policy.ts';
import { Failure } from '../lib/failure.ts';
import type { LocalForwarder } from './laptop.ts';

const STATIC_PROGRAM = 'libra:static';

export interface ValuesReply {
  readonly env: Readonly<Record<string, string>>;
  readonly secrets: Readonly<Record<string, string>>;
}

/** Names of the Secrets that its variables refer to. */
export function secretsOf(manifest: Manifest, environment: string, entrypoint: string): readonly string[] {
  const values = Object.values(effectiveEnv(manifest, environment, entrypoint));
  return [...new Set(values.flatMap((value) => (typeof value === 'string' ? [] : [value.secret])))];
}

export interface ProgramPlace {
  readonly manifest: Manifest;
  readonly environment: string;
  readonly entrypoint: string;
  readonly port: number;
  readonly forwarder: LocalForwarder;
}

/** Those that are not set are told to `missing`, and left out: a program may do without. */
export function variablesOf(
  { manifest, environment, entrypoint, port, forwarder }: ProgramPlace,
  values: ValuesReply,
  missing: (variable: string, secret: string) => void,
): Readonly<Record<string, string>> {
  const variables: Record<string, string> = {};
  for (const [name, value] of Object.entries(effectiveEnv(manifest, environment, entrypoint))) {
    if (Object.hasOwn(values.env, name)) continue;
    const text = typeof value === 'string' ? value : Object.hasOwn(values.secrets, value.secret) ? values.secrets[value.secret] : undefined;
    if (text !== undefined) variables[name] = text;
    else if (typeof value !== 'string') missing(name, value.secret);
  }
  return {
    ...variables,
    ...values.env,
    ...callVariables(forwarder, manifest),
    PORT: String(port),
    HOST: '127.0.0.1',
    LIBRA_APP: manifest.app,
    LIBRA_ENVIRONMENT: environment,
    LIBRA_ENTRYPOINT: entrypoint,
  };
}

/** How it reaches Services, for a program that is started elsewhere too. */
export function callVariables({ port, identityFile }: LocalForwarder, { uses }: Pick<Manifest, 'uses'>): Readonly<Record<string, string>> {
  return { ...serviceVariables(`http://127.0.0.1:${port}`, uses), LIBRA_IDENTITY_FILE: identityFile };
}

/** Its command, or the one given instead. Throws `manifest_invalid` where there is none, or a variable of it is not set. */
export function commandOf(
  spec: EntrypointSpec,
  given: readonly string[],
  variables: Readonly<Record<string, string>>,
  staticServer: readonly string[],
): readonly string[] {
  if (given.length > 0) return given;
  const { words, missing } = expandWords(spec.command, variables);
  if (words.length === 0)
    throw new Failure('manifest_invalid', {
      message: `${spec.name} has no command: it runs an image.`,
      hint: 'Start the program yourself and name its port, libra dev --port 3000, or give a command: libra dev -- npm run dev',
    });
  if (missing.length > 0)
    throw new Failure('manifest_invalid', {
      message: `The command of ${spec.name} uses \${${missing.join('}, ${')}}, which is not set.`,
      hint: `Set it with: libra env set ${missing[0] ?? ''}=<value>, or under env in libra.yaml`,
    });
  return words[0] === STATIC_PROGRAM ? [...staticServer, words[1] ?? '.', '127.0.0.1', variables['PORT'] ?? ''] : words;
}
