// How a program is started under another user by us, who may do everything. Nothing that the App chooses reaches a program that still has
// our rights: the kernel changes the user before anything is run, since variables such as LD_PRELOAD make whatever runs with them do what
// they say. What takes the way to more rights away (setpriv) runs as that user already, and without such variables, or it could be kept
// from it.

import { existsSync } from 'node:fs';

/** Variables that make the loader or the C library of any program run code of somebody's choice. */
const STEERING = /^(?:LD_.*|GLIBC_TUNABLES|GCONV_PATH|LOCPATH|MUSL_.*)$/u;

const find = (places: readonly string[]): string | null => places.find((path) => existsSync(path)) ?? null;
const SETPRIV = find(['/usr/bin/setpriv', '/bin/setpriv', '/usr/local/bin/setpriv']);
const ENV = find(['/usr/bin/env', '/bin/env']);

export interface Start {
  readonly file: string;
  readonly words: readonly string[];
  readonly env: Record<string, string>;
  /** For spawn, which drops the groups too. */
  readonly ids: { readonly uid?: number; readonly gid?: number };
}

export const isSteering = (variable: string): boolean => STEERING.test(variable);

/** @param argv the program by its absolute path, and its words @param user null: ourselves */
export function startAs(
  user: { readonly uid: number; readonly gid: number } | null,
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
): Start {
  const [file = '', ...words] = argv;
  if (user === null) return { file, words, env: { ...env }, ids: {} };
  const ids = { uid: user.uid, gid: user.gid };
  // The kernel alone: without groups and capabilities, though with a way to more rights.
  if (SETPRIV === null) return { file, words, env: { ...env }, ids };
  const entries = Object.entries(env);
  const later = entries.filter(([name]) => isSteering(name)).map(([name, value]) => `${name}=${value}`);
  const program = later.length === 0 || ENV === null ? argv : [ENV, ...later, ...argv];
  return {
    file: SETPRIV,
    words: ['--no-new-privs', '--inh-caps=-all', '--', ...program],
    env: Object.fromEntries(ENV === null ? entries : entries.filter(([name]) => !isSteering(name))),
    ids,
  };
}
