// The names of all commands in the order of the help text. Loading is lazy: a command line costs one command file.

import { nearest } from '../model/nearest.ts';
import type { CommandEntry, CommandGroup } from './command.ts';

export const registry: readonly CommandGroup[] = [
  {
    title: 'Deploy',
    commands: [
      { name: 'init', load: async () => (await import('./commands/init.ts')).init },
      { name: 'deploy', load: async () => (await import('./commands/deploy.ts')).deploy },
      { name: 'plan', load: async () => (await import('./commands/plan.ts')).plan },
      { name: 'promote', load: async () => (await import('./commands/promote.ts')).promote },
      { name: 'abort', load: async () => (await import('./commands/promote.ts')).abort },
      { name: 'rollback', load: async () => (await import('./commands/rollback.ts')).rollback },
      { name: 'releases', load: async () => (await import('./commands/releases.ts')).releases },
      { name: 'deployments', load: async () => (await import('./commands/deployments.ts')).deployments },
    ],
  },
  {
    title: 'Run and look',
    commands: [
      { name: 'apps', load: async () => (await import('./commands/apps.ts')).apps },
      { name: 'apps create', load: async () => (await import('./commands/apps.ts')).appsCreate },
      { name: 'apps delete', load: async () => (await import('./commands/apps.ts')).appsDelete },
      { name: 'ps', load: async () => (await import('./commands/ps.ts')).ps },
      { name: 'logs', load: async () => (await import('./commands/logs.ts')).logs },
      { name: 'stats', load: async () => (await import('./commands/stats.ts')).stats },
      { name: 'exec', load: async () => (await import('./commands/exec.ts')).exec },
      { name: 'cp', load: async () => (await import('./commands/cp.ts')).cp },
      { name: 'run', load: async () => (await import('./commands/run.ts')).run },
      { name: 'scale', load: async () => (await import('./commands/scale.ts')).scale },
      { name: 'restart', load: async () => (await import('./commands/restart.ts')).restart },
      { name: 'stop', load: async () => (await import('./commands/stop.ts')).stop },
      { name: 'start', load: async () => (await import('./commands/stop.ts')).start },
      { name: 'pause', load: async () => (await import('./commands/pause.ts')).pause },
      { name: 'resume', load: async () => (await import('./commands/pause.ts')).resume },
    ],
  },
  {
    title: 'Develop',
    commands: [
      { name: 'dev', load: async () => (await import('./commands/dev.ts')).dev },
      { name: 'dev up', load: async () => (await import('./commands/dev.ts')).devUp },
      { name: 'dev ls', load: async () => (await import('./commands/dev.ts')).devLs },
      { name: 'dev revoke', load: async () => (await import('./commands/dev.ts')).devRevoke },
    ],
  },
  {
    title: 'Configure',
    commands: [
      { name: 'env', load: async () => (await import('./commands/env.ts')).envList },
      { name: 'env set', load: async () => (await import('./commands/env.ts')).envSet },
      { name: 'env unset', load: async () => (await import('./commands/env.ts')).envUnset },
      { name: 'secrets', load: async () => (await import('./commands/secrets.ts')).secretsList },
      { name: 'secrets set', load: async () => (await import('./commands/secrets.ts')).secretsSet },
      { name: 'secrets unset', load: async () => (await import('./commands/secrets.ts')).secretsUnset },
      { name: 'domains', load: async () => (await import('./commands/domains.ts')).domains },
      { name: 'domains check', load: async () => (await import('./commands/domains.ts')).domainsCheck },
      { name: 'domains ca', load: async () => (await import('./commands/domains.ts')).domainsCa },
      { name: 'routes', load: async () => (await import('./commands/routes.ts')).routes },
      { name: 'routes explain', load: async () => (await import('./commands/routes.ts')).routesExplain },
      { name: 'routes hash', load: async () => (await import('./commands/routes-hash.ts')).routesHash },
    ],
  },
  {
    title: 'Platform',
    commands: [
      { name: 'up', load: async () => (await import('./commands/up.ts')).up },
      { name: 'down', load: async () => (await import('./commands/down.ts')).down },
      { name: 'join', load: async () => (await import('./commands/join.ts')).join },
      { name: 'status', load: async () => (await import('./commands/status.ts')).status },
      { name: 'nodes', load: async () => (await import('./commands/nodes.ts')).nodes },
      { name: 'nodes stats', load: async () => (await import('./commands/stats.ts')).nodesStats },
      { name: 'nodes invite', load: async () => (await import('./commands/invitations.ts')).nodesInvite },
      { name: 'nodes invitations', load: async () => (await import('./commands/invitations.ts')).nodesInvitations },
      { name: 'nodes uninvite', load: async () => (await import('./commands/invitations.ts')).nodesUninvite },
      { name: 'nodes ca', load: async () => (await import('./commands/invitations.ts')).nodesCa },
      { name: 'nodes remove', load: async () => (await import('./commands/nodes.ts')).nodesRemove },
      { name: 'nodes set', load: async () => (await import('./commands/nodes.ts')).nodesSet },
      { name: 'nodes cordon', load: async () => (await import('./commands/nodes.ts')).nodesCordon },
      { name: 'nodes uncordon', load: async () => (await import('./commands/nodes.ts')).nodesUncordon },
      { name: 'nodes drain', load: async () => (await import('./commands/nodes.ts')).nodesDrain },
      { name: 'grants', load: async () => (await import('./commands/grants.ts')).grants },
      { name: 'grants add', load: async () => (await import('./commands/grants.ts')).grantsAdd },
      { name: 'grants remove', load: async () => (await import('./commands/grants.ts')).grantsRemove },
      { name: 'store migrate', load: async () => (await import('./commands/store.ts')).storeMigrate },
      { name: 'events', load: async () => (await import('./commands/events.ts')).events },
      { name: 'requests', load: async () => (await import('./commands/requests.ts')).requests },
      { name: 'doctor', load: async () => (await import('./commands/doctor.ts')).doctor },
      { name: 'completion', load: async () => (await import('./commands/completion.ts')).completion },
      { name: 'version', load: async () => (await import('./commands/version.ts')).version },
    ],
  },
];

const entries: readonly CommandEntry[] = registry.flatMap((group) => group.commands);

/** Words of other platforms' command lines, and what they are here. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  config: 'env',
  copy: 'cp',
  delete: 'apps delete',
  destroy: 'apps delete',
  history: 'deployments',
  info: 'status',
  list: 'apps',
  log: 'logs',
  ls: 'apps',
  new: 'init',
  push: 'deploy',
  release: 'deploy',
  rm: 'apps delete',
  serve: 'up',
  ssh: 'exec',
  top: 'stats',
  tail: 'logs',
  undo: 'rollback',
  vars: 'env',
};

export type FoundCommand =
  | { readonly kind: 'command'; readonly entry: CommandEntry; /** How many words of argv its name took. */ readonly words: number }
  /** The first word of two-word commands alone. */
  | { readonly kind: 'group'; readonly entries: readonly CommandEntry[] };

/** The command whose words begin argv; the longer name wins. */
export function findCommand(argv: readonly string[]): FoundCommand | null {
  const [first = '', second = ''] = argv;
  const two = entries.find((entry) => entry.name === `${first} ${second}`);
  if (two !== undefined) return { kind: 'command', entry: two, words: 2 };
  const one = entries.find((entry) => entry.name === first);
  if (one !== undefined) return { kind: 'command', entry: one, words: 1 };
  const group = entriesOf(first);
  return group.length === 0 ? null : { kind: 'group', entries: group };
}

/** The two-word commands that begin with a word. */
export function entriesOf(word: string): readonly CommandEntry[] {
  return entries.filter((entry) => entry.name.startsWith(`${word} `));
}

/** The command that a mistyped or foreign word means, or null when none is near. */
export function nearestCommand(word: string): string | null {
  if (Object.hasOwn(ELSEWHERE, word)) return ELSEWHERE[word] ?? null;
  const firsts = [...new Set(entries.map((entry) => entry.name.split(' ')[0] ?? ''))];
  const begun = firsts.filter((name) => word.length > 1 && name.startsWith(word));
  return begun.length === 1 ? (begun[0] ?? null) : nearest(word, firsts);
}

/** The two-word command that is meant where the second word of one is mistyped, or null. */
export function nearestSecondWord(first: string, second: string): string | null {
  const near = nearest(
    second,
    entriesOf(first).map((entry) => entry.name.slice(first.length + 1)),
  );
  return near === null ? null : `${first} ${near}`;
}
