// The whole environment of a program: what Libra injects and what the App set, nothing inherited. The App's own values win, except
// over what the platform itself must know to be true: PORT, HOST and LIBRA_*.

import type { DesiredInstance } from '../api/agent.ts';
import { expandWords } from '../model/expand.ts';
import { serviceVariables } from '../model/service-policy.ts';
import { variableOf } from './container-part.ts';
import type { Reason } from '../model/documents.ts';

/** First word of the command that Libra's own static file server answers to. */
const STATIC_PROGRAM = 'libra:static';

export interface EnvironmentFacts {
  readonly nodeName: string;
  /** null: the driver's own. */
  readonly searchPath: string | null;
  /** Where it finds its token; null: it has none. */
  readonly identityFile: string | null;
  /** URL at which it reaches Services; null: it does not. */
  readonly apiProxy: string | null;
  /** null: it has a file system of its own, with its own work folder, home and PATH. */
  readonly folders: { readonly work: string; readonly home: string; readonly tmp: string } | null;
  readonly host: string;
  readonly port: number | null;
  /** Volume name → real path. */
  readonly volumes: ReadonlyMap<string, string>;
  /** Secret name → real path. */
  readonly files: ReadonlyMap<string, string>;
}

export function environmentOf(spec: DesiredInstance, facts: EnvironmentFacts): Readonly<Record<string, string>> {
  const { folders } = facts;
  const defaults: Record<string, string> = folders === null ? {} : { HOME: folders.home, TMPDIR: folders.tmp, LANG: 'C.UTF-8' };
  // Programs that the App's own packages bring come first, as they do for npm scripts.
  if (folders !== null && facts.searchPath !== null) defaults['PATH'] = `${folders.work}/node_modules/.bin:${facts.searchPath}`;
  const fixed: Record<string, string> = {
    LIBRA_APP: spec.app.name,
    LIBRA_ENTRYPOINT: spec.entrypoint,
    LIBRA_INSTANCE: spec.id,
    LIBRA_SLOT: String(spec.slot),
    LIBRA_RELEASE: String(spec.release.number),
    LIBRA_NODE: facts.nodeName,
  };
  if (spec.environment !== null) fixed['LIBRA_ENVIRONMENT'] = spec.environment.name;
  if (facts.port !== null) {
    fixed['PORT'] = String(facts.port);
    fixed['HOST'] = facts.host;
  }
  if (facts.identityFile !== null) fixed['LIBRA_IDENTITY_FILE'] = facts.identityFile;
  if (facts.apiProxy !== null) Object.assign(fixed, serviceVariables(facts.apiProxy, spec.uses ?? []));
  for (const [name, path] of facts.volumes) fixed[`LIBRA_VOLUME_${variableOf(name)}`] = path;
  for (const [name, path] of facts.files) fixed[`LIBRA_FILE_${variableOf(name)}`] = path;
  return { ...defaults, ...spec.env, ...fixed };
}

/** The words of a command with `${VAR}` expanded; a variable that nobody set is a reason that names it. */
export function commandWords(
  spec: DesiredInstance,
  command: readonly string[],
  env: Readonly<Record<string, string>>,
  staticServer: readonly string[],
): { readonly argv: readonly string[] } | { readonly reason: Reason } {
  const { words, missing } = expandWords(command, env);
  const [name] = missing;
  if (name !== undefined) {
    return {
      reason: {
        code: 'missing_variable',
        message: `The command of ${spec.entrypoint} uses \${${missing.join('}, ${')}}, which is not set.`,
        hint: `Set it with: libra env set ${name}=<value>`,
        lastLines: [],
        instanceId: spec.id,
      },
    };
  }
  const [program, folder = '.'] = words;
  if (program !== STATIC_PROGRAM) return { argv: words };
  return { argv: [...staticServer, folder, env['HOST'] ?? '127.0.0.1', env['PORT'] ?? '8080'] };
}
