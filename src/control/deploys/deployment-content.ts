// What a Deployment fixes when it is made: effective specs, and for every variable and secret file the very version of the value it
// comes from (product.md §3). Scale and domains are not in it.

import { effectiveEntrypoints, effectiveEnv } from '../../model/effective.ts';
import type { Deployment, EnvSource } from '../../model/documents.ts';
import type { Manifest } from '../../model/manifest-types.ts';

export type DeploymentContent = Pick<Deployment, 'entrypoints' | 'env' | 'files'>;

/** The newest version of every value and Secret that is set in an Environment. */
export interface CurrentValues {
  readonly env: ReadonlyMap<string, { readonly valueId: string; readonly version: number }>;
  readonly secrets: ReadonlyMap<string, { readonly valueId: string; readonly version: number }>;
}

export const NO_VALUES: CurrentValues = { env: new Map(), secrets: new Map() };

export interface MissingSecret {
  readonly secret: string;
  /** `entrypoints.web.env DATABASE_URL` in words. */
  readonly where: string;
}

export interface Resolved {
  readonly content: DeploymentContent;
  readonly missing: readonly MissingSecret[];
}

/** The content of a Deployment of this manifest with the values as they are now. */
export function resolveContent(manifest: Manifest, environmentName: string, values: CurrentValues): Resolved {
  const entrypoints = effectiveEntrypoints(manifest, environmentName);
  const missing: MissingSecret[] = [];
  const env: Record<string, Record<string, EnvSource>> = {};
  const files: Record<string, Deployment['files'][string][number][]> = {};
  for (const [name, spec] of Object.entries(entrypoints)) {
    const variables = new Map<string, EnvSource>();
    for (const [variable, value] of Object.entries(effectiveEnv(manifest, environmentName, name))) {
      if (values.env.has(variable)) continue;
      if (typeof value === 'string') {
        variables.set(variable, { kind: 'plain', value });
        continue;
      }
      const secret = values.secrets.get(value.secret);
      if (secret === undefined) missing.push({ secret: value.secret, where: `env ${variable} of ${name}` });
      else variables.set(variable, { kind: 'value', name: value.secret, ...secret });
    }
    for (const [variable, value] of values.env) variables.set(variable, { kind: 'value', name: variable, ...value });
    env[name] = Object.fromEntries([...variables].sort(([a], [b]) => (a < b ? -1 : 1)));
    files[name] = spec.files.flatMap((file) => {
      const secret = values.secrets.get(file.secret);
      if (secret !== undefined) return [{ path: file.path, mode: file.mode, name: file.secret, ...secret }];
      missing.push({ secret: file.secret, where: `file ${file.path} of ${name}` });
      return [];
    });
  }
  return { content: { entrypoints, env, files }, missing };
}

/** Every value that the content needs: what it is called and the id of its version. */
export function valuesOf(
  content: DeploymentContent,
): readonly { readonly valueId: string; readonly name: string; readonly version: number }[] {
  const found = new Map<string, { readonly valueId: string; readonly name: string; readonly version: number }>();
  for (const variables of Object.values(content.env)) {
    for (const source of Object.values(variables)) if (source.kind === 'value') found.set(source.valueId, source);
  }
  for (const files of Object.values(content.files)) for (const file of files) found.set(file.valueId, file);
  return [...found.values()];
}
