// The names of all commands in the order of the help text. Loading is lazy: a command line costs one command file.

import type { Command } from './command.ts';

export interface CommandEntry {
  /** One or two words. */
  readonly name: string;
  readonly load: () => Promise<Command>;
}

export interface CommandGroup {
  readonly title: string;
  readonly commands: readonly CommandEntry[];
}

export const registry: readonly CommandGroup[] = [
  {
    title: 'Deploy',
    commands: [
      { name: 'init', load: async () => (await import('./commands/init.ts')).init },
      { name: 'deploy', load: async () => (await import('./commands/deploy.ts')).deploy },
      { name: 'plan', load: async () => (await import('./commands/plan.ts')).plan },
      { name: 'rollback', load: async () => (await import('./commands/rollback.ts')).rollback },
      { name: 'releases', load: async () => (await import('./commands/releases.ts')).releases },
      { name: 'deployments', load: async () => (await import('./commands/deployments.ts')).deployments },
    ],
  },
  {
    title: 'Run and look',
    commands: [
      { name: 'apps', load: async () => (await import('./commands/apps.ts')).apps },
      { name: 'apps delete', load: async () => (await import('./commands/apps.ts')).appsDelete },
      { name: 'ps', load: async () => (await import('./commands/ps.ts')).ps },
      { name: 'logs', load: async () => (await import('./commands/logs.ts')).logs },
      { name: 'exec', load: async () => (await import('./commands/exec.ts')).exec },
      { name: 'run', load: async () => (await import('./commands/run.ts')).run },
      { name: 'scale', load: async () => (await import('./commands/scale.ts')).scale },
      { name: 'restart', load: async () => (await import('./commands/restart.ts')).restart },
      { name: 'stop', load: async () => (await import('./commands/stop.ts')).stop },
      { name: 'start', load: async () => (await import('./commands/stop.ts')).start },
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
      { name: 'routes', load: async () => (await import('./commands/routes.ts')).routes },
    ],
  },
  {
    title: 'Platform',
    commands: [
      { name: 'up', load: async () => (await import('./commands/up.ts')).up },
      { name: 'down', load: async () => (await import('./commands/down.ts')).down },
      { name: 'status', load: async () => (await import('./commands/status.ts')).status },
      { name: 'nodes', load: async () => (await import('./commands/nodes.ts')).nodes },
      { name: 'nodes cordon', load: async () => (await import('./commands/nodes.ts')).nodesCordon },
      { name: 'nodes uncordon', load: async () => (await import('./commands/nodes.ts')).nodesUncordon },
      { name: 'nodes drain', load: async () => (await import('./commands/nodes.ts')).nodesDrain },
      { name: 'events', load: async () => (await import('./commands/events.ts')).events },
      { name: 'doctor', load: async () => (await import('./commands/doctor.ts')).doctor },
      { name: 'completion', load: async () => (await import('./commands/completion.ts')).completion },
      { name: 'version', load: async () => (await import('./commands/version.ts')).version },
    ],
  },
];

const entries = (): readonly CommandEntry[] => registry.flatMap((group) => group.commands);

export type FoundCommand =
  | { readonly kind: 'command'; readonly entry: CommandEntry; /** How many words of argv its name took. */ readonly words: number }
  /** The first word of two-word commands alone: their names. */
  | { readonly kind: 'group'; readonly commands: readonly string[] };

/** The command whose words begin argv; the longer name wins. */
export function findCommand(argv: readonly string[]): FoundCommand | null {
  const [first = '', second = ''] = argv;
  const two = entries().find((entry) => entry.name === `${first} ${second}`);
  if (two !== undefined) return { kind: 'command', entry: two, words: 2 };
  const one = entries().find((entry) => entry.name === first);
  if (one !== undefined) return { kind: 'command', entry: one, words: 1 };
  const group = entries().filter((entry) => entry.name.startsWith(`${first} `));
  return group.length === 0 ? null : { kind: 'group', commands: group.map((entry) => entry.name) };
}

/** The known name nearest to a mistyped one, or null when none is near. Damerau–Levenshtein distance, at most 2. */
export function nearestCommand(word: string): string | null {
  let best: string | null = null;
  let bestDistance = 3;
  for (const entry of entries()) {
    const distance = editDistance(word, entry.name.split(' ')[0] ?? '');
    if (distance < bestDistance) [best, bestDistance] = [entry.name.split(' ')[0] ?? null, distance];
  }
  return best;
}

function editDistance(left: string, right: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= right.length; column += 1) {
      const same = left[row - 1] === right[column - 1];
      let cost = Math.min((previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1, (previous[column - 1] ?? 0) + (same ? 0 : 1));
      if (row > 1 && column > 1 && left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1])
        cost = Math.min(cost, (before[column - 2] ?? 0) + 1);
      current.push(cost);
    }
    before = previous;
    previous = current;
  }
  return previous[right.length] ?? 0;
}
